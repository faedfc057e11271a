-- standing --
-- What a person is to a dataset. The roles that groups give are known to the caller.
select owner, "group", state, array(
  select role from "grant" where "grant".dataset = dataset.id
    and (person = %(person)s or "group" = any(%(groups)s) or audience = any(%(audiences)s))) as granted
from dataset where id = %(dataset)s

-- seen --
-- The same, with all that is told of the dataset: one way to the catalogue and back is an eighth of what a read takes.
select owner, "group", state, array(
  select role from "grant" where "grant".dataset = dataset.id
    and (person = %(person)s or "group" = any(%(groups)s) or audience = any(%(audiences)s))) as granted,
  (select told from whole where whole.id = dataset.id) as told
from dataset where id = %(dataset)s

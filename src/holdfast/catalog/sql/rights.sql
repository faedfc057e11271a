-- standing --
-- What a person is to a dataset. The roles that groups give are known to the caller.
select owner, "group", state, array(
  select role from "grant" where "grant".dataset = dataset.id
    and (person = %(person)s or "group" = any(%(groups)s) or audience = any(%(audiences)s))) as granted
from dataset where id = %(dataset)s

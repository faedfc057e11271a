-- those --
select path, size, mtime_ns, blake3, kind from landed where dataset = %(dataset)s and path = any(%(paths)s)

-- insert --
insert into landed (dataset, path, size, mtime_ns, blake3, kind, target, mode, person)
select %(dataset)s, path, size, mtime_ns, blake3, kind, target, mode, %(person)s
from unnest(%(paths)s::bytea[], %(sizes)s::bigint[], %(mtimes)s::bigint[], %(digests)s::bytea[], %(kinds)s::text[],
  %(targets)s::bytea[], %(modes)s::integer[]) as file (path, size, mtime_ns, blake3, kind, target, mode)

-- in_use --
-- Which of some folders have something in them.
select folder from unnest(%(paths)s::bytea[]) as asked (folder)
where exists (select from landed where dataset = %(dataset)s and path >= folder || '/'::bytea and path < folder || '0'::bytea)

-- filled --
-- Folders that are empty no more are entries no more.
delete from landed where dataset = %(dataset)s and kind = 'directory' and path = any(%(paths)s)

-- page --
-- In path order, which is the order of their bytes; those at and below a prefix.
select path, size, mtime_ns, blake3, kind, target, mode from landed
where dataset = %(dataset)s and path > %(after)s
  and (%(prefix)s::bytea = '' or path = %(prefix)s or (path >= %(below)s and path < %(beyond)s))
order by path limit %(limit)s

-- children --
-- What is directly in a folder, in path order: of all that is below a folder in it, only the first row is looked at.
with recursive child as (
  (select *, position('/'::bytea in substr(path, %(skip)s + 1)) as slash from landed
   where dataset = %(dataset)s and path >= %(start)s and (%(skip)s = 0 or path < %(beyond)s) order by path limit 1)
  union all
  select following.* from child, lateral (
    select *, position('/'::bytea in substr(path, %(skip)s + 1)) as slash from landed
    where dataset = %(dataset)s and (%(skip)s = 0 or path < %(beyond)s) and path >= case when child.slash > 0
      then substr(child.path, 1, %(skip)s + child.slash - 1) || '0'::bytea else child.path || '\x00'::bytea end
    order by path limit 1) as following
)
select path, size, mtime_ns, blake3, kind, target, mode, slash from child limit %(limit)s

-- remove --
delete from landed where dataset = %(dataset)s and path = %(path)s returning size, kind

-- forget --
delete from landed where dataset = %(dataset)s

-- bytes --
-- Of all that lies in landing, and of what leaves it when it is proven on its tapes.
select coalesce(sum(bytes), 0)::bigint as bytes,
  coalesce(sum(bytes) filter (where state <> 'open' or close_wanted is not null), 0)::bigint as leaving from dataset
where landing and source_released_at is null and state <> 'deleted'

-- those --
select path, size, mtime_ns, blake3 from landed where dataset = %(dataset)s and path = any(%(paths)s)

-- insert --
insert into landed (dataset, path, size, mtime_ns, blake3, person)
select %(dataset)s, path, size, mtime_ns, blake3, %(person)s
from unnest(%(paths)s::bytea[], %(sizes)s::bigint[], %(mtimes)s::bigint[], %(digests)s::bytea[])
  as file (path, size, mtime_ns, blake3)

-- page --
-- In path order, which is the order of their bytes; those at and below a prefix.
select path, size, mtime_ns, blake3 from landed
where dataset = %(dataset)s and path > %(after)s
  and (%(prefix)s::bytea = '' or path = %(prefix)s or (path >= %(below)s and path < %(beyond)s))
order by path limit %(limit)s

-- remove --
delete from landed where dataset = %(dataset)s and path = %(path)s returning size

-- forget --
delete from landed where dataset = %(dataset)s

-- bytes --
-- Of all that lies in landing, and of what leaves it when it is proven on its tapes.
select coalesce(sum(bytes), 0)::bigint as bytes,
  coalesce(sum(bytes) filter (where state <> 'open' or close_wanted is not null), 0)::bigint as leaving from dataset
where landing and source_released_at is null and state <> 'deleted'

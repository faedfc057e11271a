-- insert --
insert into package (id, dataset, segment, state, packaging, name, files, payload)
values (%(id)s, %(dataset)s, %(segment)s, 'planned', %(packaging)s, %(name)s, %(files)s, %(payload)s)

-- restore --
insert into package (id, dataset, segment, state, packaging, name, files, payload, packed_files, packed_bytes, size, digest,
                     sidecar, created_at, packed_at, released_at)
values (%(id)s, %(dataset)s, %(segment)s, 'released', %(packaging)s, %(name)s, %(files)s, %(payload)s, %(files)s, %(payload)s,
        %(size)s, %(digest)s, %(sidecar)s, %(created_at)s, %(created_at)s, %(created_at)s)
on conflict (id) do nothing returning id

-- by_id --
select * from package where id = %(id)s

-- of_dataset --
-- Without the sidecars, which are not wanted where many packages are, and may be large.
select id, dataset, segment, state, packaging, name, files, payload, packed_files, packed_bytes, size, digest, problem
from package where dataset = %(dataset)s order by segment

-- claim --
update package set state = 'packing', attempt = attempt + 1, packed_files = 0, packed_bytes = 0
where id = %(id)s and state = any(%(from)s) returning *

-- progress --
update package set packed_files = %(files)s, packed_bytes = %(bytes)s where id = %(id)s and attempt = %(attempt)s

-- staged --
update package set state = 'staged', size = %(size)s, digest = %(digest)s, sidecar = %(sidecar)s, packed_at = now(), problem = null,
                   packed_files = files, packed_bytes = payload
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- again --
-- Packing is to be tried again.
update package set state = 'planned', problem = %(problem)s, next_try = %(next_try)s
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning id

-- release_if_proven --
update package set state = 'released', released_at = now(), problem = null
where id = %(id)s and state = any(%(from)s)
  and (select count(distinct tape) from copy where package = package.id and state = 'verified') >= %(wanted)s
returning *

-- retire_all --
update package set state = 'retired' where dataset = %(dataset)s and state = any(%(from)s) returning id

-- unclaimed --
-- Packages to pack: planned, or claimed by somebody who is gone (the server freed the lock).
select id from package where state in ('planned', 'packing') and next_try <= now() and not exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) = hashtextextended('package:' || package.id, 0))
order by id limit %(limit)s

-- unreleased --
select id from package where state = 'staged'

-- in_staging --
select id, attempt from package where state in ('packing', 'staged')

-- in_repair --
-- Packages that may lie in staging again, because a copy of them is being replaced.
select id from package where state = 'released'
  and exists (select from copy where package = package.id and state in ('planned', 'writing'))

-- staged_bytes --
select coalesce(sum(size), 0)::bigint as bytes from package where state = 'staged'

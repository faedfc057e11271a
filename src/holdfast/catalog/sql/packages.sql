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
  and not exists (select from copy where package = package.id and state in ('planned', 'writing', 'written'))
returning *

-- unstage --
-- Staging lost it, but a proven copy has it.
update package set state = %(to)s, problem = null where id = %(id)s and state = any(%(from)s)
  and exists (select from copy where package = package.id and state = 'verified') returning id

-- restaged --
-- It was read whole from a proven copy, because another one is owed.
update package set state = %(to)s, attempt = attempt + 1 where id = %(id)s and state = any(%(from)s) and attempt = %(attempt)s
returning *

-- to_write --
-- Packages in staging with copies to write, those that wait longest first; copies whose writer is gone are taken over, by
-- us too when we have his tapes.
select package.*, coalesce(dataset.metadata->>'proposal', dataset.metadata->>'beamline', '') as family, owed.copies, owed.since,
  array(select distinct tape from copy where package = package.id and tape is not null) as used
from (
  select package, min(created_at) as since,
    jsonb_agg(jsonb_build_object('id', id, 'tape', tape, 'attempt', attempt, 'problem', problem) order by number) as copies
  from copy where state in ('planned', 'writing') and next_try <= now() and (tape = any(%(ours)s) or not exists (
    select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())
      and ((classid::bigint << 32) | objid::bigint) = hashtextextended('write:' || copy.tape, 0)))
  group by package) as owed
join package on package.id = owed.package join dataset on dataset.id = package.dataset
where package.state = 'staged' order by owed.since, package.id limit %(limit)s

-- packed_now --
-- Whether anything is being packed, which will have to be written.
select 1 as one where exists (
  select from package where state = 'packing' and exists (
    select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())
      and ((classid::bigint << 32) | objid::bigint) = hashtextextended('package:' || package.id, 0)))

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
-- Packages that are proven, and whose staging nobody freed.
select package.id from package join dataset on dataset.id = package.dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
where package.state = 'staged'
  and not exists (select from copy where package = package.id and state in ('planned', 'writing', 'written'))
  and (select count(distinct tape) from copy where package = package.id and state = 'verified') >= (profile.body->>'copies')::int

-- in_staging --
select id, attempt from package where state in ('packing', 'staged')

-- in_repair --
-- Packages that may lie in staging again soon, because another copy of them is owed.
select id, attempt + 1 as attempt from package where state = 'released'
  and exists (select from copy where package = package.id and state = 'planned')

-- staged_bytes --
select coalesce(sum(size), 0)::bigint as bytes from package where state = 'staged'

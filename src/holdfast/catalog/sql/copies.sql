-- insert --
insert into copy (package, number, state) values (%(package)s, %(number)s, 'planned') returning id

-- restore --
insert into copy (package, number, state, tape, size, start_block, generation, drive, rate, digest, written_at,
                  verified_at)
values (%(package)s, %(number)s, %(state)s, %(tape)s, %(size)s, %(start_block)s, %(generation)s, %(drive)s, %(rate)s,
        %(digest)s, %(written_at)s, %(verified_at)s)
on conflict do nothing returning id

-- by_id --
select copy.*, tape.state as tape_state from copy left join tape on tape.serial = copy.tape where copy.id = %(id)s

-- of_package --
select * from copy where package = %(package)s order by number, id

-- readable --
-- Copies that may be read, with the state of their tapes.
select copy.*, tape.state as tape_state, tape.problem as tape_problem from copy join tape on tape.serial = copy.tape
where package = %(package)s and copy.state in ('written', 'verified', 'suspect') order by number, copy.id

-- of_dataset --
select copy.* from copy join package on package.id = copy.package where dataset = %(dataset)s order by segment, number, copy.id

-- of_manifest --
-- What a tape has of these packages, in the order in which it lies there.
select copy.package, start_block, written_at, verified_at from copy join package on package.id = copy.package
where tape = %(tape)s and package = any(%(packages)s) and copy.state in ('written', 'verified')
  and package.size is not null and package.digest is not null
order by start_block

-- due --
select * from copy where package = %(package)s and state in ('planned', 'writing') and next_try <= now()
order by number for update

-- claim --
update copy set state = 'writing', moved = 0, attempt = attempt + 1, tape = %(tape)s
where id = %(id)s and state = any(%(from)s) returning *

-- written --
update copy set state = 'written', moved = 0, size = %(size)s, start_block = %(start_block)s, generation = %(generation)s,
                drive = %(drive)s, rate = %(rate)s, written_at = now(), problem = null
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- moved --
update copy set moved = %(moved)s where id = any(%(ids)s) and state in ('writing', 'written', 'verified', 'suspect')

-- verified --
update copy set state = 'verified', digest = %(digest)s, verified_at = now(), problem = null, check_wanted = null
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- checked --
update copy set verified_at = now(), digest = %(digest)s, problem = null, check_wanted = null
where id = %(id)s and attempt = %(attempt)s and state = 'verified' returning *

-- suspect --
update copy set state = 'suspect', problem = %(problem)s, next_try = %(next_try)s, check_wanted = null
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- problem --
update copy set problem = %(problem)s, next_try = %(next_try)s where id = %(id)s and attempt = %(attempt)s returning *

-- again --
-- Writing is to be tried again; on another tape when tape is null.
update copy set state = 'planned', tape = %(tape)s, problem = %(problem)s, next_try = %(next_try)s
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- lost --
update copy set state = 'lost', problem = %(problem)s, check_wanted = null, next_try = now()
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- retire_all --
update copy set state = 'retired' where package in (select id from package where dataset = %(dataset)s)
  and state = any(%(from)s) returning id

-- retire_on_tape --
update copy set state = 'retired' where tape = %(tape)s and state = any(%(from)s) returning id

-- want_check --
update copy set check_wanted = now(), moved = 0 where state = 'verified'
  and package in (select id from package where dataset = %(dataset)s) returning id

-- scrub --
-- Of packages that were not read for so long, the copy that was read longest ago, the oldest packages first.
update copy set check_wanted = now(), moved = 0 where id in (
  select (array_agg(copy.id order by copy.verified_at, copy.number))[1] from copy join tape on tape.serial = copy.tape
  where copy.state = 'verified' and tape.state not in ('disabled', 'missing', 'retired')
  group by copy.package
  having max(copy.verified_at) < now() - make_interval(days => %(days)s) and count(copy.check_wanted) = 0
  order by max(copy.verified_at), copy.package
  limit greatest(%(at_once)s - (select count(*) from copy where check_wanted is not null), 0))
returning id

-- erased --
update copy set erased_at = now() where id = %(id)s

-- unwritten --
-- Packages with copies to write whose writer, if there was one, is gone.
select distinct package from copy where state in ('planned', 'writing') and next_try <= now() and not exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) = hashtextextended('package:' || copy.package, 0))
order by package limit %(limit)s

-- unproven --
-- Copies to read: written and not read back, suspect, or asked for.
select copy.id from copy join tape on tape.serial = copy.tape
where next_try <= now() and tape.state not in ('disabled', 'retired')
  and (copy.state in ('written', 'suspect') or (copy.state = 'verified' and check_wanted is not null)) and not exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint)
        in (hashtextextended('copy:' || copy.id, 0), hashtextextended('package:' || copy.package, 0)))
order by copy.id limit %(limit)s

-- unerased --
select copy.id from copy join tape on tape.serial = copy.tape
where copy.state in ('retired', 'lost') and erased_at is null and next_try <= now()
  and tape.state in ('active', 'full', 'suspect')
order by copy.id limit %(limit)s

-- owed --
-- Packages with fewer live copies than their profile wants.
select package.id as package, (profile.body->>'copies')::int as wanted, count(copy.id) as live
from package join dataset on dataset.id = package.dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
left join copy on copy.package = package.id and copy.state not in ('lost', 'retired')
where package.state in ('staged', 'released') and dataset.state in ('closing', 'closed')
group by package.id, profile.body having count(copy.id) < (profile.body->>'copies')::int
order by package.id limit %(limit)s

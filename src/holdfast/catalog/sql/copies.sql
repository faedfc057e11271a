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
select copy.*, tape.state as tape_state from copy left join tape on tape.serial = copy.tape
where package = %(package)s order by number, copy.id

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

-- waits --
-- Why copies that nobody has claimed are not written yet.
update copy set problem = %(problem)s, next_try = %(next_try)s where id = %(id)s and state in ('planned', 'writing') returning id

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
  and package in (select id from package where dataset = %(dataset)s) returning id, tape

-- scrub --
-- Of packages that were not read for so long, the copy that was read longest ago, the oldest packages first.
update copy set check_wanted = now(), moved = 0 where id in (
  select (array_agg(copy.id order by copy.verified_at, copy.number))[1] from copy join tape on tape.serial = copy.tape
  join package on package.id = copy.package join dataset on dataset.id = package.dataset
  join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
  where copy.state = 'verified' and tape.state not in ('disabled', 'exported', 'missing', 'retired')
  group by copy.package, profile.body->>'verify_days'
  -- The profile may say how often, else the settings do; 0 says nothing.
  having max(copy.verified_at) < now() - make_interval(days => coalesce(
      nullif((profile.body->>'verify_days')::int, 0), nullif(%(days)s::int, 0))) and count(copy.check_wanted) = 0
  order by max(copy.verified_at), copy.package
  limit greatest(%(at_once)s - (select count(*) from copy where check_wanted is not null), 0))
returning id, tape

-- erased --
update copy set erased_at = now() where id = %(id)s

-- to_read --
-- Of one tape, in the order in which they lie on it.
select * from copy_to_read where tape = %(tape)s order by start_block, id limit %(limit)s

-- unread --
-- Tapes with copies to read that nobody reads now.
select distinct tape from copy_to_read where not exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) = hashtextextended('check:' || copy_to_read.tape, 0))
order by tape

-- to_erase --
-- Of one tape, or of all those that can be written.
select copy.id, copy.tape, copy.state, copy.attempt, copy.problem, copy.package
from copy join tape on tape.serial = copy.tape
where copy.state in ('retired', 'lost') and copy.erased_at is null and copy.next_try <= now()
  and tape.state in ('active', 'full', 'suspect', 'repacking') and tape.lock_state = 0 and (%(tape)s::text is null or copy.tape = %(tape)s)
order by copy.tape, copy.id limit %(limit)s

-- owed --
-- Packages with fewer live copies than their profile wants; what lies on a tape that is to be emptied counts no more.
select package.id as package, (profile.body->>'copies')::int as wanted
from package join dataset on dataset.id = package.dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
left join copy on copy.package = package.id and copy.state not in ('lost', 'retired')
left join tape on tape.serial = copy.tape
where package.state in ('staged', 'released') and dataset.state in ('closing', 'closed')
group by package.id, profile.body
having count(copy.id) filter (where tape.state is distinct from 'repacking') < (profile.body->>'copies')::int
order by package.id limit %(limit)s

-- unreadable --
-- Copies owed of packages of which no tape has anything that could be read, and which nobody said so of.
select copy.id, copy.package, package.name, package.dataset, package.files, package.payload, exists (
    select from copy as told where told.package = copy.package and told.state = 'planned'
      and (told.problem->>'code' = 'operator-needed' or told.id < copy.id)) as told
from copy join package on package.id = copy.package and package.state = 'released'
where copy.state = 'planned' and copy.problem->>'code' is distinct from 'operator-needed' and not exists (
  select from copy as other where other.package = copy.package and other.state in ('written', 'verified', 'suspect'))
order by copy.id limit %(limit)s

-- drained --
-- Copies on tapes that are to be emptied whose packages have the proven copies that their profile wants elsewhere.
update copy set state = %(to)s from tape, package, dataset, profile
where tape.serial = copy.tape and tape.state = 'repacking' and copy.state = any(%(from)s)
  and package.id = copy.package and dataset.id = package.dataset
  and profile.name = dataset.profile and profile.version = dataset.profile_version
  and (select count(distinct other.tape) from copy as other join tape as place on place.serial = other.tape
       where other.package = copy.package and other.state = 'verified' and place.state <> 'repacking')
      >= (profile.body->>'copies')::int
returning copy.id, copy.package, copy.tape, package.dataset

-- surplus --
-- Copies that nobody has begun to write and nobody wants any more: a tape was to be emptied, and is not, or the dataset is
-- under another profile.
update copy set state = %(to)s where state = 'planned' and id in (
  select extra.id from copy as extra join package on package.id = extra.package join dataset on dataset.id = package.dataset
  join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
  where extra.state = 'planned' and extra.number > (profile.body->>'copies')::int
    and (profile.body->>'copies')::int < (
      select count(*) from copy as other left join tape on tape.serial = other.tape
      where other.package = extra.package and other.state not in ('lost', 'retired')
        and tape.state is distinct from 'repacking'))
returning id

-- surplus_proven --
-- Copies that the profile of a dataset wants no more since it was changed: those behind as many as it wants, which are
-- proven, each on a tape that is there. What is on tapes that are not goes first.
update copy set state = %(to)s from (
  select copy.id, copy.package, package.dataset, copy.tape, (profile.body->>'copies')::int as wanted,
    count(*) filter (where copy.state = 'verified' and tape.state in ('active', 'full', 'suspect', 'disabled', 'exported'))
      over (partition by copy.package) as proven,
    row_number() over (partition by copy.package order by
      copy.state = 'verified' and tape.state in ('active', 'full', 'suspect', 'disabled', 'exported') desc, copy.number, copy.id) as place
  from copy join package on package.id = copy.package join dataset on dataset.id = package.dataset
  join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
  join tape on tape.serial = copy.tape
  where copy.state in ('written', 'verified', 'suspect') and package.state = 'released' and dataset.state = 'closed'
    and exists (select from event where event.dataset = dataset.id and kind = 'dataset.profile-changed')) as extra
where extra.id = copy.id and copy.state = any(%(from)s) and extra.place > extra.wanted and extra.proven >= extra.wanted
returning copy.id, extra.package, extra.tape, extra.dataset

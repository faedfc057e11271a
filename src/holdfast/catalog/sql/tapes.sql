-- upsert --
-- A tape that the library has again is in use again; what an operator or a fence decided stays. A tape that was not
-- known has the state `first`.
insert into tape (serial, site, library, media_type, state, capacity, free, generation, lock_state)
values (%(serial)s, %(site)s, %(library)s, %(media_type)s, %(first)s, %(capacity)s, %(free)s, %(generation)s, %(lock_state)s)
on conflict (serial) do update set free = excluded.free, generation = excluded.generation, changed_at = now(),
  lock_state = excluded.lock_state, capacity = greatest(tape.capacity, excluded.capacity),
  state = case when tape.state in ('new', 'disabled', 'exported', 'retired')
                 or (tape.state = 'repacking' and %(state)s <> 'missing') then tape.state
               when %(state)s in ('missing', 'broken') or tape.state = 'missing' then %(state)s
               else tape.state end

-- add --
-- An operator says what a tape is; what is not said stays.
update tape set batch = coalesce(%(batch)s, batch), families = coalesce(%(families)s, families)
where serial = %(serial)s and (batch, families) is distinct from (coalesce(%(batch)s, batch), coalesce(%(families)s, families))
returning serial

-- counters --
select health, baseline, state from tape where serial = %(serial)s for update

-- counted --
update tape set health = %(health)s where serial = %(serial)s

-- trust --
-- It is taken into use: what its counters say now is the measure of what comes.
update tape set baseline = coalesce(health, '{}'), trusted_at = clock_timestamp() where serial = %(serial)s

-- doubted --
-- Tapes that are not written because they failed, and are not frozen.
select * from tape where serial = any(%(serials)s) and state in ('suspect', 'broken') and lock_state = 0
order by serial for update

-- rooms --
-- Tapes that can be written; free bytes after what is being written now, and whether somebody has the tape for that.
select serial, media_type, capacity, batch, twin, families, free - coalesce((
    select sum(package.size + coalesce(octet_length(package.sidecar), 0)) from copy join package on package.id = copy.package
    where copy.tape = tape.serial and copy.state = 'writing'), 0)::bigint as free, exists (
    select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())
      and ((classid::bigint << 32) | objid::bigint) = hashtextextended('write:' || tape.serial, 0)) as busy
from tape where state = 'active' and site = %(site)s order by serial

-- given --
-- What is written to a tape: by which habit, and for whom.
update tape set twin = case when %(twin)s = '' then twin else %(twin)s end,
  families = case when %(family)s = '' or %(family)s = any(families) then families else families || %(family)s::text end
where serial = %(serial)s

-- used --
-- One tape, or all.
select tape.*, coalesce(held.copies, 0) as copies, coalesce(held.live, 0)::bigint as live, held.last_verified,
  (select began_at from mount where mount.tape = tape.serial order by mount.id desc limit 1) as last_mounted
from tape left join (
  select tape, count(*) filter (where state = 'verified') as copies, max(verified_at) as last_verified,
    sum(size) filter (where state in ('written', 'verified', 'suspect')) as live
  from copy where %(serial)s::text is null or tape = %(serial)s group by tape) as held on held.tape = tape.serial
where %(serial)s::text is null or tape.serial = %(serial)s order by tape.serial

-- held --
select state, count(*), coalesce(sum(size), 0)::bigint as bytes from copy where tape = %(serial)s group by state order by state

-- needed --
-- Packages with a copy on this tape that counts: how many proven copies they have on other tapes, and want.
select copy.package, copy.state in ('planned', 'writing') as writing, (profile.body->>'copies')::int as wanted,
  (select count(distinct other.tape) from copy as other
   where other.package = copy.package and other.state = 'verified' and other.tape <> copy.tape) as elsewhere
from copy join package on package.id = copy.package join dataset on dataset.id = package.dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
where copy.tape = %(serial)s and copy.state not in ('lost', 'retired') order by copy.package

-- all --
select tape.*, count(copy.id) filter (where copy.state = 'verified') as copies from tape
left join copy on copy.tape = tape.serial group by tape.serial order by tape.serial

-- state --
update tape set state = %(to)s, problem = %(problem)s, changed_at = now()
where serial = %(serial)s and state = any(%(from)s) returning serial

-- measured --
update tape set free = %(free)s, generation = %(generation)s, lock_state = %(lock_state)s, changed_at = now()
where serial = %(serial)s

-- rebuild_anew --
update tape set rebuilt = null where rebuilt is not null

-- rebuilt --
select serial, rebuilt from tape where rebuilt is not null

-- rebuilt_whole --
update tape set rebuilt = %(generation)s where serial = %(serial)s

-- relate --
-- Twins and families as the copies say, for a catalogue that was rebuilt.
update tape set twin = coalesce((
    select other.tape from copy join copy as other on other.package = copy.package and other.tape <> copy.tape
    where copy.tape = tape.serial and copy.state = 'verified' and other.state = 'verified' order by copy.id desc limit 1), ''),
  families = array(
    select distinct coalesce(dataset.metadata->>'proposal', dataset.metadata->>'beamline')
    from copy join package on package.id = copy.package join dataset on dataset.id = package.dataset
    where copy.tape = tape.serial and (dataset.metadata ? 'proposal' or dataset.metadata ? 'beamline') order by 1)

-- emptied --
-- Tapes that were to be emptied, and are.
update tape set state = %(to)s, problem = %(problem)s, changed_at = now()
where state = 'repacking' and not exists (
  select from copy where copy.tape = tape.serial and (
    copy.state not in ('lost', 'retired') or (copy.erased_at is null and tape.lock_state = 0)))
returning serial

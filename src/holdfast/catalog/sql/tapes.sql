-- upsert --
-- A tape that the library has again is in use again; what an operator or a fence decided stays.
insert into tape (serial, site, library, media_type, state, capacity, free, generation, lock_state)
values (%(serial)s, %(site)s, %(library)s, %(media_type)s, %(state)s, %(capacity)s, %(free)s, %(generation)s, %(lock_state)s)
on conflict (serial) do update set free = excluded.free, generation = excluded.generation, changed_at = now(),
  lock_state = excluded.lock_state, capacity = greatest(tape.capacity, excluded.capacity),
  state = case when excluded.state in ('missing', 'broken') or tape.state = 'missing' then excluded.state
               else tape.state end

-- rooms --
-- Free bytes after what is being written now.
select serial, media_type, free - coalesce((
    select sum(package.size + coalesce(octet_length(package.sidecar), 0)) from copy join package on package.id = copy.package
    where copy.tape = tape.serial and copy.state = 'writing'), 0)::bigint as free
from tape where state = 'active' and site = %(site)s

-- all --
select tape.*, count(copy.id) filter (where copy.state = 'verified') as copies from tape
left join copy on copy.tape = tape.serial group by tape.serial order by tape.serial

-- state --
update tape set state = %(state)s, problem = %(problem)s, changed_at = now()
where serial = %(serial)s and state = any(%(from)s) returning serial

-- measured --
update tape set free = %(free)s, generation = %(generation)s, lock_state = %(lock_state)s, changed_at = now()
where serial = %(serial)s

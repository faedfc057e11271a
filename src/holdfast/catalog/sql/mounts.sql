-- begin --
insert into mount (site, tape, drive, mode, purpose, before)
values (%(site)s, %(tape)s, %(drive)s, %(mode)s, %(purpose)s, %(before)s) returning id

-- failed --
-- The tape could not be mounted.
insert into mount (site, tape, drive, mode, purpose, ended_at, problem)
values (%(site)s, %(tape)s, %(drive)s, %(mode)s, %(purpose)s, clock_timestamp(), %(problem)s)

-- end --
-- Whoever knows how it ended knows better than who found it cut off.
update mount set ended_at = clock_timestamp(), bytes_read = %(bytes_read)s, bytes_written = %(bytes_written)s,
  problem = %(problem)s, after = %(after)s, recovered_errors = %(recovered)s, permanent_errors = %(permanent)s where id = %(id)s

-- cut_off --
-- Mounts whose process died: their tape is not in their drive, or was mounted again. What began after this transaction
-- did is not in what it saw of the drives.
update mount set ended_at = now(), problem = 'cut-off'
where ended_at is null and site = %(site)s and began_at < now() and (
  not exists (select from unnest(%(tapes)s::text[], %(drives)s::text[]) as held (tape, drive)
              where held.tape = mount.tape and held.drive = mount.drive)
  or exists (select from mount as later where later.tape = mount.tape and later.id > mount.id and later.site = mount.site))

-- forget --
delete from mount where began_at < now() - make_interval(days => %(days)s)

-- outcomes --
-- How mounts went since tape and drive are trusted; one that was cut off or moved nothing says nothing.
select distinct mount.tape, mount.drive, mount.problem is not null as failed
from mount left join tape on tape.serial = mount.tape left join drive on drive.name = mount.drive
where mount.site = %(site)s and began_at > now() - make_interval(days => %(days)s)
  and began_at > coalesce(tape.trusted_at, '-infinity') and began_at > coalesce(drive.trusted_at, '-infinity')
  and (mount.problem = any(%(failures)s)
       or (mount.problem is null and ended_at is not null and bytes_read + bytes_written > 0))

-- failed_in --
-- The drives in which some tapes failed since both are trusted.
select distinct mount.tape, mount.drive from mount
left join tape on tape.serial = mount.tape left join drive on drive.name = mount.drive
where mount.tape = any(%(tapes)s) and mount.problem = any(%(failures)s) and began_at > now() - make_interval(days => %(days)s)
  and began_at > coalesce(tape.trusted_at, '-infinity') and began_at > coalesce(drive.trusted_at, '-infinity')

-- page --
select * from mount where site = %(site)s and (%(before)s::bigint is null or id < %(before)s)
  and (%(tape)s::text is null or tape = %(tape)s) and (%(drive)s::text is null or drive = %(drive)s)
order by id desc limit %(limit)s

-- of_drives --
-- All that is known of each drive's mounts.
select drive, count(*) as mounts, coalesce(sum(bytes_read), 0)::bigint as bytes_read,
  coalesce(sum(bytes_written), 0)::bigint as bytes_written, max(coalesce(ended_at, now())) as last_used,
  count(*) filter (where problem = any(%(failures)s)) as failures,
  coalesce(sum(recovered_errors), 0)::bigint as recovered_errors, coalesce(sum(permanent_errors), 0)::bigint as permanent_errors,
  (select after from mount as last where last.drive = mount.drive and last.site = %(site)s and last.ended_at is not null
   order by last.id desc limit 1) as counters
from mount where site = %(site)s group by drive

-- last_day --
-- How many mounts of each drive began in the last 24 hours, and the share of that time in which a tape was in it.
select drive, count(*) filter (where began_at > now() - interval '24 hours') as mounts,
  coalesce(sum(extract(epoch from coalesce(ended_at, now()) - greatest(began_at, now() - interval '24 hours')))
           / 86400, 0)::float as busy
from mount where site = %(site)s and (ended_at is null or ended_at > now() - interval '24 hours')
group by drive

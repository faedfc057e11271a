-- insert --
insert into upload (id, dataset, person, path, length, mtime_ns, mode, metadata, resumable, origin, expires_at)
values (%(id)s, %(dataset)s, %(person)s, %(path)s, %(length)s, %(mtime_ns)s, %(mode)s, %(metadata)s, %(resumable)s,
        %(origin)s, now() + make_interval(secs => %(keep)s))
returning *

-- by_id --
select * from upload where id = %(id)s and expires_at > now()

-- same --
-- An upload that the same call has begun: of a file that has not changed since.
select * from upload where dataset = %(dataset)s and person = %(person)s and path = %(path)s and length = %(length)s
  and metadata = %(metadata)s and mtime_ns = %(mtime_ns)s and resumable and ended_at is null and expires_at > now()
order by received desc limit 1

-- claim --
update upload set attempt = attempt + 1 where id = %(id)s and ended_at is null and expires_at > now() returning *

-- promised --
select count(*) as files, coalesce(sum(length), 0)::bigint as bytes from upload
where dataset = %(dataset)s and ended_at is null and expires_at > now()

-- received --
update upload set received = %(received)s, problem = null, expires_at = now() + make_interval(secs => %(keep)s)
where id = %(id)s and attempt = %(attempt)s and ended_at is null returning *

-- ended --
update upload set received = length, ended_at = now()
where id = %(id)s and attempt = %(attempt)s and ended_at is null

-- delete --
delete from upload where id = %(id)s

-- of_dataset --
select * from upload where dataset = %(dataset)s and ended_at is null and expires_at > now() order by id

-- renew --
-- What the archive is to fetch waits until it has come or somebody ends it: it was promised, and nobody else brings it.
update upload set expires_at = now() + make_interval(secs => %(keep)s)
where origin is not null and ended_at is null and expires_at < now() + make_interval(secs => %(keep)s / 2)

-- expired --
-- Of those that are over, and of those that ended with the process that had them.
delete from upload where expires_at <= now() or (not resumable and not exists (
    select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())
      and ((classid::bigint << 32) | objid::bigint) = hashtextextended('upload:' || upload.id, 0)))
returning id

-- unknown --
-- Which of these names no upload has.
select name from unnest(%(names)s::text[]) as name where not exists (select from upload where id = name)

-- forget --
delete from upload where dataset = %(dataset)s

-- problem --
update upload set problem = %(problem)s where id = %(id)s and ended_at is null

-- unfetched --
-- What the archive is to fetch, and nobody does.
select id from upload where origin is not null and ended_at is null and expires_at > now()
  and coalesce((problem->>'next_try')::timestamptz, now()) <= now() and not exists (
    select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())
      and ((classid::bigint << 32) | objid::bigint) = hashtextextended('upload:' || upload.id, 0))
order by id limit %(limit)s

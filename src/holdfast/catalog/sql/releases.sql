-- insert --
insert into release (id, site, dataset, person, state, apply, evidence)
values (%(id)s, %(site)s, %(dataset)s, %(person)s, 'asked', %(apply)s, %(evidence)s)

-- by_id --
select * from release where id = %(id)s

-- claim --
update release set attempt = attempt + 1 where id = %(id)s and state in ('asked', 'planned', 'applying') returning *

-- planned --
update release set state = 'planned', files = %(files)s, bytes = %(bytes)s, kept = %(kept)s, differing = %(differing)s,
  ended_at = case when apply then null else now() end
where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- applying --
update release set state = 'applying', problem = null where id = %(id)s and attempt = %(attempt)s and state = any(%(from)s) returning *

-- progress --
update release set removed = %(removed)s where id = %(id)s and attempt = %(attempt)s and state in ('asked', 'applying')

-- done --
update release set state = 'done', removed = %(removed)s, kept = %(kept)s, ended_at = now() where id = %(id)s and attempt = %(attempt)s
  and state = any(%(from)s) returning *

-- failed --
update release set state = 'failed', problem = %(problem)s, ended_at = now() where id = %(id)s and attempt = %(attempt)s
  and state = any(%(from)s) returning *

-- problem --
update release set problem = %(problem)s where id = %(id)s and attempt = %(attempt)s

-- unfinished --
select id from release where (state in ('asked', 'applying') or (state = 'planned' and apply))
  and coalesce((problem->>'next_try')::timestamptz, now()) <= now() and not exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) = hashtextextended('release:' || release.id, 0))
order by id

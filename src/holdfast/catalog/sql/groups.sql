-- by_name --
select * from "group" where name = %(name)s

-- page --
select * from "group" where name > %(after)s and (%(names)s::text[] is null or name = any(%(names)s))
order by name limit %(limit)s

-- add --
insert into "group" (name, site, kind, title, folder, created_by)
values (%(name)s, %(site)s, %(kind)s, %(title)s, %(folder)s, %(by)s) on conflict (name) do nothing returning name

-- change --
update "group" set title = coalesce(%(title)s, title), folder = coalesce(%(folder)s, folder)
where name = %(name)s and (title, folder) is distinct from (coalesce(%(title)s, title), coalesce(%(folder)s, folder))
returning name

-- by_folder --
select name, folder from "group" where folder = any(%(folders)s) order by length(folder) desc limit 1

-- members --
select person, person.title, membership.role, origin, nullif(from_at, '-infinity') as from_at,
  nullif(until_at, 'infinity') as until_at
from membership join person on person.name = membership.person
where "group" = %(group)s and until_at > now() order by person, origin

-- put_member --
insert into membership as known ("group", person, role, origin, from_at, until_at)
values (%(group)s, %(person)s, %(role)s, %(origin)s, coalesce(%(from_at)s, '-infinity'::timestamptz),
  coalesce(%(until_at)s, 'infinity'::timestamptz))
on conflict ("group", person, origin) do update
set role = excluded.role, from_at = excluded.from_at, until_at = excluded.until_at
where (known.role, known.from_at, known.until_at) is distinct from (excluded.role, excluded.from_at, excluded.until_at)
returning person

-- end_member --
-- What has not begun never was.
with never as (
  delete from membership where "group" = %(group)s and person = %(person)s and origin = %(origin)s and from_at >= now()
  returning person),
ended as (
  update membership set until_at = now()
  where "group" = %(group)s and person = %(person)s and origin = %(origin)s and from_at < now() and until_at > now()
  returning person)
select person from never union all select person from ended

-- leads --
-- Whether somebody has one of these roles by a membership that is kept, and until when.
select count(*) > 0 as kept, nullif(max(until_at), 'infinity') as until_at from membership
where "group" = %(group)s and person = %(person)s and role = any(%(roles)s) and now() between from_at and until_at

-- lock --
select from "group" where name = %(group)s for no key update

-- other_owners --
-- Those who own it now and will, and can act.
select person from membership join person on person.name = membership.person
where "group" = %(group)s and membership.role = 'owner' and person <> %(person)s and state = 'active' and from_at <= now()
  and until_at = 'infinity'

-- by_origin --
select "group" from membership where person = %(person)s and origin = %(origin)s and until_at > now() order by "group"

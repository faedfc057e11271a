-- by_name --
select person.*, array(select kind from credential where credential.person = person.name order by kind) as credentials
from person where name = %(name)s

-- self --
select name, title, mail, role, (
  select row_to_json(shown) from (
    select id, person, kind, label, scopes, created_at, expires_at, revoked_at, used_at, used_from,
      revoked_at is null and coalesce(expires_at, 'infinity') > now() as good
    from token where id = %(token)s) as shown) as token
from person where name = %(name)s

-- page --
select person.*, array(select kind from credential where credential.person = person.name order by kind) as credentials
from person where name > %(after)s and (%(state)s::text is null or state = %(state)s)
  and (%(search)s = '' or strpos(lower(name || ' ' || title || ' ' || mail), lower(%(search)s)) > 0)
order by name limit %(limit)s

-- add --
insert into person (name, site, title, mail, role, state, reason, decided_by, decided_at)
values (%(name)s, %(site)s, %(title)s, %(mail)s, %(role)s, %(state)s, %(reason)s, %(by)s::text,
  case when %(by)s::text is not null then now() end)
on conflict (name) do nothing returning name

-- carries --
-- Whether a name has rights to datasets: those that came back from tapes name persons who have no accounts any more.
select from dataset where visible_to @> array['p:' || %(name)s::text] limit 1

-- vouch --
-- An administrator knows who it is that was admitted.
update person set decided_by = %(by)s, decided_at = now()
where name = %(name)s and state = 'active' and decided_by is null returning name

-- state --
update person set state = %(to)s, reason = %(reason)s, decided_by = %(by)s, decided_at = now()
where name = %(name)s and state = any(%(from)s) and state = %(was)s returning name

-- change --
update person set title = coalesce(%(title)s, title), mail = coalesce(%(mail)s, mail), role = coalesce(%(role)s, role)
where name = %(name)s
  and (title, mail, role) is distinct from (coalesce(%(title)s, title), coalesce(%(mail)s, mail), coalesce(%(role)s, role))
returning name

-- other_admins --
-- Those who can sign in, not only with a password that is good once. Locks them, so that two administrators cannot take
-- each other's place at the same time.
select name from person where role = 'admin' and state = 'active' and name <> %(name)s
  and (exists (select from credential where credential.person = person.name and (kind <> 'local' or once_until is null))
    or exists (select from token where token.person = person.name and kind = 'folder' and revoked_at is null))
order by name for update of person

-- groups --
-- Those that somebody is in now, with the highest role there, however it was got.
select distinct on ("group".name) "group".name, "group".title, "group".folder, membership.role
from membership join "group" on "group".name = membership."group"
where person = %(person)s and now() between from_at and until_at
order by "group".name, array_position(array['owner', 'manager', 'writer', 'reader'], membership.role)

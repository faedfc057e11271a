-- good --
-- Who shows a token that is good, with the highest role in each group that somebody is in now, however it was got;
-- `stale`: its use was not noted for a minute; `until_at`: when what is made with it ends, null if somebody signed in for it.
select person.name, person.role, token.id as token, token.scopes,
  case when token.kind = 'token' then token.expires_at end as until_at,
  token.used_at is null or token.used_at < now() - interval '1 minute' as stale,
  coalesce((select json_agg(json_build_array(name, role, folder)) from (
    select distinct on ("group".name) "group".name, membership.role, "group".folder
    from membership join "group" on "group".name = membership."group"
    where membership.person = person.name and now() between from_at and until_at
    order by "group".name, array_position(array['owner', 'manager', 'writer', 'reader'], membership.role)) as standing), '[]') as groups
from token join person on person.name = token.person
where token.digest = %(digest)s and token.revoked_at is null and coalesce(token.expires_at, 'infinity') > now()
  and person.state = 'active'

-- used --
update token set used_at = now(), used_from = %(used_from)s where id = %(id)s

-- add --
insert into token (id, person, kind, digest, made_with, label, scopes, expires_at)
values (%(id)s, %(person)s, %(kind)s, %(digest)s, %(made_with)s, %(label)s, %(scopes)s,
  least(now() + make_interval(secs => %(seconds)s), %(until)s::timestamptz))

-- hold --
-- A token that is still good; it is not revoked before what is made with it is there to be revoked as well.
select from token where id = %(id)s and revoked_at is null and coalesce(expires_at, 'infinity') > now() for share

-- of_folder --
-- The one token of the data folder.
insert into token (id, person, kind, digest, label, scopes)
values (%(id)s, %(person)s, 'folder', %(digest)s, 'the file `token` of the data folder', %(scopes)s)
on conflict (digest) do update set scopes = excluded.scopes, revoked_at = null

-- folders_before --
select id from token where kind = 'folder' and digest <> %(digest)s and revoked_at is null

-- by_id --
select *, revoked_at is null and coalesce(expires_at, 'infinity') > now() as good from token where id = %(id)s

-- of_person --
select *, revoked_at is null and coalesce(expires_at, 'infinity') > now() as good from token
where person = %(person)s and (%(ended)s or (revoked_at is null and coalesce(expires_at, 'infinity') > now()))
order by created_at desc, id desc limit %(limit)s

-- revoke --
-- A token, and all that were made with it, with those in turn, also where the one between has ended already.
with recursive made as (
  select id from token where id = %(id)s
  union select token.id from token join made on token.made_with = made.id)
update token set revoked_at = now() from made
where token.id = made.id and revoked_at is null and (token.id = %(id)s or coalesce(expires_at, 'infinity') > now())
returning token.id, person

-- end --
-- One only: who logs out does not want the programs to stop that were given tokens meanwhile.
update token set revoked_at = now() where id = %(id)s and revoked_at is null returning id, person

-- revoke_all --
-- All tokens of a person but one, and but that of the data folder, which whoever has the folder has anyway.
update token set revoked_at = now()
where person = %(person)s and id <> %(except)s and kind <> 'folder' and revoked_at is null

-- by_token --
-- Who shows a token that is good, with the groups this person is in now; `stale`: its use was not noted for a minute.
select person.name, person.role, token.id as token, token.scopes,
  token.used_at is null or token.used_at < now() - interval '1 minute' as stale,
  coalesce((select jsonb_object_agg(membership."group", jsonb_build_array(membership.role, "group".folder))
    from membership join "group" on "group".name = membership."group"
    where membership.person = person.name and now() between from_at and until_at), '{}') as groups
from token join person on person.name = token.person
where token.digest = %(digest)s and token.revoked_at is null and coalesce(token.expires_at, 'infinity') > now()
  and person.state = 'active'

-- used --
update token set used_at = now(), used_from = %(used_from)s where id = %(id)s

-- add --
insert into person (name, site, title, role, state, decided_by, decided_at)
values (%(name)s, %(site)s, %(title)s, %(role)s, 'active', %(by)s, now()) on conflict (name) do nothing

-- add_token --
insert into token (id, person, kind, digest, label, scopes, expires_at)
values (%(id)s, %(person)s, %(kind)s, %(digest)s, %(label)s, %(scopes)s, %(expires_at)s) on conflict (digest) do nothing

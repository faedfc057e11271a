-- local --
select credential.*, person.state, credential.once_until < now() as over from credential
join person on person.name = credential.person
where kind = 'local' and issuer = '' and subject = %(name)s

-- set_local --
insert into credential (person, kind, issuer, subject, secret, once_until)
values (%(name)s, 'local', '', %(name)s, %(secret)s, now() + make_interval(secs => %(once)s))
on conflict (kind, issuer, subject) do update set secret = excluded.secret, once_until = excluded.once_until

-- used --
update credential set used_at = now(), secret = %(secret)s where id = %(id)s

-- attempt --
-- What is refused does not count: who has the password would be shut out by coming often at once.
insert into attempt as known (what, who, count) values (%(what)s, %(who)s, 1)
on conflict (what, who) do update set
  count = case when known.began_at < now() - make_interval(secs => %(window)s) then 1
    when known.count < %(most)s then known.count + 1 else known.count end,
  refused = case when known.began_at < now() - make_interval(secs => %(window)s) or known.count < %(most)s then 0
    else known.refused + 1 end,
  began_at = case when known.began_at < now() - make_interval(secs => %(window)s) then now() else known.began_at end
returning refused, extract(epoch from began_at - now())::float + %(window)s::float as seconds

-- forgive --
update attempt set count = count - 1 where what = %(what)s and who = any(%(whos)s) and count > 0

-- forget_attempts --
delete from attempt where began_at < now() - make_interval(secs => %(window)s)

-- of_other --
-- Who is recognised by somebody else; `stale`: that it was so was not noted for a minute.
select person.*, credential.id as credential, used_at is null or used_at < now() - interval '1 minute' as stale
from credential join person on person.name = credential.person
where kind = %(kind)s and issuer = %(issuer)s and subject = %(subject)s

-- shown --
update credential set used_at = now() where id = %(id)s

-- coming --
-- Whoever comes for the first time with several calls at once is one person.
select pg_advisory_xact_lock(hashtextextended('newcomer:' || %(kind)s || ':' || %(issuer)s || ':' || %(subject)s, 0))

-- add_other --
insert into credential (person, kind, issuer, subject) values (%(person)s, %(kind)s, %(issuer)s, %(subject)s)
on conflict (kind, issuer, subject) do nothing

-- all_of --
select id, kind, issuer, subject, created_at, used_at from credential where person = %(person)s order by id

-- remove --
delete from credential where id = %(id)s and person = %(person)s returning kind, issuer

-- begin --
-- A sign-in somewhere else that is under way.
insert into sign_in (digest, device_code, pause, nonce, verifier, next)
values (%(digest)s, %(device_code)s, %(pause)s, %(nonce)s, %(verifier)s, %(next)s)

-- ask --
-- A sign-in on another device; `due`: the provider was not asked for a while, and is now.
with due as (
  update sign_in set asked_at = now()
  where digest = %(digest)s and coalesce(asked_at, '-infinity') <= now() - make_interval(secs => pause) returning true)
select device_code, exists (select from due) as due from sign_in
where digest = %(digest)s and device_code is not null and began_at > now() - interval '15 minutes'

-- slower --
-- By as much as RFC 8628 says.
update sign_in set pause = pause + 5 where digest = %(digest)s

-- end --
-- Once only.
delete from sign_in where digest = %(digest)s and began_at > now() - interval '15 minutes' returning *

-- forget_begun --
delete from sign_in where began_at < now() - interval '15 minutes'

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
insert into attempt as known (what, who, count) values (%(what)s, %(who)s, 1)
on conflict (what, who) do update set
  count = case when known.began_at < now() - make_interval(secs => %(window)s) then 1 else known.count + 1 end,
  began_at = case when known.began_at < now() - make_interval(secs => %(window)s) then now() else known.began_at end
returning count, extract(epoch from began_at - now())::float + %(window)s::float as seconds

-- forgive --
update attempt set count = count - 1 where what = %(what)s and who = any(%(whos)s) and count > 0

-- forget_attempts --
delete from attempt where began_at < now() - make_interval(secs => %(window)s)

-- of_other --
-- Who was recognised by somebody else, and that it was now.
with known as (
  update credential set used_at = now() where kind = %(kind)s and issuer = %(issuer)s and subject = %(subject)s
  returning person)
select person.* from known join person on person.name = known.person

-- add_other --
insert into credential (person, kind, issuer, subject) values (%(person)s, %(kind)s, %(issuer)s, %(subject)s)
on conflict (kind, issuer, subject) do nothing

-- all_of --
select id, kind, issuer, subject, created_at, used_at from credential where person = %(person)s order by id

-- remove --
delete from credential where id = %(id)s and person = %(person)s returning kind, issuer

-- begin --
-- A sign-in somewhere else that is under way.
insert into sign_in (digest, device_code, nonce, verifier, next)
values (%(digest)s, %(device_code)s, %(nonce)s, %(verifier)s, %(next)s)

-- begun --
select * from sign_in where digest = %(digest)s and began_at > now() - interval '15 minutes'

-- end --
-- Once only.
delete from sign_in where digest = %(digest)s and began_at > now() - interval '15 minutes' returning *

-- forget_begun --
delete from sign_in where began_at < now() - interval '15 minutes'

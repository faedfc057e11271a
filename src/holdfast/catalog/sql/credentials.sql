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

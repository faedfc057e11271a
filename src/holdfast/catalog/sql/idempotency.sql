-- by_key --
select request, body from idempotency where person = %(person)s and key = %(key)s

-- insert --
insert into idempotency (person, key, request, body) values (%(person)s, %(key)s, %(request)s, %(body)s)

-- expire --
delete from idempotency where created_at < now() - interval '7 days'

-- by_key --
select request, ident, body from idempotency where person = %(person)s and key = %(key)s

-- insert --
insert into idempotency (person, key, request, ident) values (%(person)s, %(key)s, %(request)s, %(ident)s)

-- answered --
update idempotency set body = %(body)s where person = %(person)s and key = %(key)s

-- expire --
delete from idempotency where created_at < now() - interval '7 days'

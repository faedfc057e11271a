-- of --
select name, query, sort, created_at from saved_search where person = %(person)s order by name

-- one --
select name, query, sort, created_at from saved_search where person = %(person)s and name = %(name)s

-- keep --
insert into saved_search (person, name, query, sort) values (%(person)s, %(name)s, %(asked)s, %(sort)s)
on conflict (person, name) do update set query = excluded.query, sort = excluded.sort, created_at = now()

-- forget --
delete from saved_search where person = %(person)s and name = %(name)s

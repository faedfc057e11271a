-- insert --
insert into profile (name, version, body) values (%(name)s, %(version)s, %(body)s) on conflict (name, version) do nothing

-- newest --
select body from profile where name = %(name)s order by version desc limit 1

-- names --
select distinct name from profile order by name

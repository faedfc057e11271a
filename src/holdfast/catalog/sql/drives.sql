-- lock --
-- One at a time: what the library says of its drives and what stands here are changed together.
select pg_advisory_xact_lock(hashtextextended('drives', 0))

-- all --
select * from drive where site = %(site)s

-- add --
insert into drive (name, site) values (%(name)s, %(site)s) on conflict do nothing

-- out --
update drive set reason = %(reason)s, decided_by = %(decided_by)s, since = now()
where name = %(name)s and decided_by is distinct from %(decided_by)s returning name

-- back --
update drive set reason = null, decided_by = null, since = null, trusted_at = clock_timestamp()
where name = %(name)s and reason is not null returning name

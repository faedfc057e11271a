-- reserved --
select coalesce(sum(bytes), 0)::bigint as bytes from reservation
where area = %(area)s and expires_at > now() and id <> %(id)s

-- insert --
insert into reservation (id, area, bytes, expires_at) values (%(id)s, %(area)s, %(bytes)s, now() + make_interval(secs => %(lifetime)s))
on conflict (id) do update set area = excluded.area, bytes = excluded.bytes, expires_at = excluded.expires_at

-- delete --
delete from reservation where id = %(id)s

-- expire --
delete from reservation where expires_at <= now()

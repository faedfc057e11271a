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

-- landed --
update reservation set bytes = greatest((
  select request.bytes - coalesce(sum(request_part.done_bytes), 0) from request
  join request_part on request_part.request = request.id where request.id = %(request)s group by request.id), 0)::bigint
where id = %(id)s

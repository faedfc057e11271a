-- reserved --
select coalesce(sum(bytes), 0)::bigint as bytes from reservation
where area = %(area)s and expires_at > now() and id <> %(id)s

-- insert --
insert into reservation (id, area, bytes, expires_at) values (%(id)s, %(area)s, %(bytes)s, now() + make_interval(secs => %(lifetime)s))
on conflict (id) do update set area = excluded.area, bytes = excluded.bytes, expires_at = excluded.expires_at

-- delete --
delete from reservation where id = %(id)s

-- expire --
-- What is over, and what was promised to work that ended without giving it back.
delete from reservation where expires_at <= now()
  or id like 'pack:%%' and not exists (
    select from package where id = substr(reservation.id, 6) and state in ('planned', 'packing'))
  or id like 'repair:%%' and not exists (
    select from copy where package = substr(reservation.id, 8) and state in ('planned', 'writing'))

-- landed --
update reservation set bytes = greatest((
  select request.bytes - coalesce(sum(request_part.done_bytes), 0) from request
  join request_part on request_part.request = request.id where request.id = %(request)s group by request.id), 0)::bigint
where id = %(id)s

-- reserved --
-- `there` are the bytes of these that are on the disk already.
select coalesce(sum(bytes), 0)::bigint as bytes, coalesce(sum(upload.received), 0)::bigint as there
from reservation left join upload on reservation.id = 'upload:' || upload.id
where area = %(area)s and reservation.expires_at > now() and reservation.id <> %(id)s

-- insert --
insert into reservation (id, area, bytes, expires_at) values (%(id)s, %(area)s, %(bytes)s, now() + make_interval(secs => %(lifetime)s))
on conflict (id) do update set area = excluded.area, bytes = excluded.bytes, expires_at = excluded.expires_at

-- delete --
delete from reservation where id = %(id)s

-- renew --
-- The promise to a request or an upload lasts as long as it is open.
update reservation set expires_at = now() + make_interval(secs => %(lifetime)s)
where expires_at < now() + make_interval(secs => %(lifetime)s / 2) and (
  id like 'request:%%' and exists (
    select from request where id = substr(reservation.id, 9) and state in ('waiting', 'recalling'))
  or id like 'upload:%%' and exists (select from upload where id = substr(reservation.id, 8) and ended_at is null))

-- expire --
-- What is over, and what was promised to work that ended without giving it back.
delete from reservation where expires_at <= now()
  or id like 'pack:%%' and not exists (
    select from package where id = substr(reservation.id, 6) and state in ('planned', 'packing'))
  or id like 'repair:%%' and not exists (
    select from copy where package = substr(reservation.id, 8) and state in ('planned', 'writing'))
  or id like 'request:%%' and not exists (
    select from request where id = substr(reservation.id, 9) and state in ('waiting', 'recalling'))
  or id like 'upload:%%' and not exists (
    select from upload where id = substr(reservation.id, 8) and ended_at is null)

-- landed --
update reservation set bytes = greatest((
  select request.bytes - coalesce(sum(request_part.done_bytes), 0) from request
  join request_part on request_part.request = request.id where request.id = %(request)s group by request.id), 0)::bigint
where id = %(id)s

-- insert --
insert into request (id, site, dataset, person, priority, selection, destination, state, files, bytes, keep, problem)
values (%(id)s, %(site)s, %(dataset)s, %(person)s, %(priority)s, %(selection)s, %(destination)s, %(state)s, %(files)s, %(bytes)s,
        %(keep)s, %(problem)s)

-- insert_part --
insert into request_part (request, package, state, files, bytes)
values (%(request)s, %(package)s, 'waiting', %(files)s, %(bytes)s)

-- by_id --
select request.*, dataset.site as dataset_site from request join dataset on dataset.id = request.dataset where request.id = %(id)s

-- page --
select * from request where (%(person)s::text is null or person = %(person)s) and (%(before)s::timestamptz is null or (created_at, id) < (%(before)s, %(before_id)s))
order by created_at desc, id desc limit %(limit)s

-- parts --
select * from request_part where request = %(request)s order by package

-- problems --
select path, code, sentence from request_problem where request = %(request)s order by path limit %(limit)s

-- claim_part --
update request_part set state = 'recalling', attempt = attempt + 1, done_files = 0, done_bytes = 0
where request = %(request)s and package = %(package)s and state in ('waiting', 'recalling') returning *

-- recalling --
update request set state = 'recalling' where id = %(id)s and state = 'waiting' returning id

-- progress --
update request_part set done_files = %(files)s, done_bytes = %(bytes)s
where request = %(request)s and package = %(package)s and attempt = %(attempt)s and state = 'recalling' returning
  (select state from request where id = %(request)s) as request_state

-- end_part --
update request_part set state = %(state)s, done_files = %(files)s, done_bytes = %(bytes)s, problem = %(problem)s,
  ended_at = now()
where request = %(request)s and package = %(package)s and attempt = %(attempt)s and state = 'recalling' returning request

-- part_again --
update request_part set state = 'waiting', problem = %(problem)s, next_try = %(next_try)s
where request = %(request)s and package = %(package)s and attempt = %(attempt)s and state = 'recalling' returning request

-- add_problem --
insert into request_problem (request, path, code, sentence) values (%(request)s, %(path)s, %(code)s, %(sentence)s)
on conflict (request, path) do update set code = excluded.code, sentence = excluded.sentence

-- joined --
-- A file that came in parts has its name.
update request_part set done_files = done_files + 1 where request = %(request)s and package = %(package)s

-- open_parts --
select count(*) as open from request_part where request = %(request)s and state in ('waiting', 'recalling')

-- lock --
select * from request where id = %(id)s for update

-- problem --
-- Ending it is to be tried again.
update request set problem = %(problem)s where id = %(id)s and state in ('waiting', 'recalling')

-- end_request --
update request set state = %(to)s, ended_at = now(), problem = %(problem)s,
  expires_at = case when %(to)s = 'ready' then now() + make_interval(secs => keep) end,
  done_files = (select coalesce(sum(done_files), 0) from request_part where request = %(id)s),
  done_bytes = (select coalesce(sum(done_bytes), 0) from request_part where request = %(id)s),
  failed_files = (select count(*) from request_problem where request = %(id)s)
where id = %(id)s and state = any(%(from)s) returning *

-- cancel_parts --
update request_part set state = 'cancelled' where request = %(request)s and state in ('waiting', 'recalling')

-- undelivered --
-- Whether anything waits to be delivered that nobody delivers now.
select 1 as one where exists (
  select from request_part join request on request.id = request_part.request
  where request_part.state in ('waiting', 'recalling') and request_part.next_try <= now()
    and request.state in ('waiting', 'recalling') and not exists (
    select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())
      and ((classid::bigint << 32) | objid::bigint)
          = hashtextextended('deliver:' || request_part.request || '/' || request_part.package, 0)))

-- recallable --
-- What waits and nobody delivers now, with its verified copies on tapes that can be mounted, on one tape or on any; a
-- row without a copy is for somebody who tries what there is.
select request_part.request, request_part.package, request_part.problem, request.created_at, request.person,
  request.priority, copy.id as copy, copy.tape, copy.start_block, copy.size, tape.media_type, tape.capacity
from request_part join request on request.id = request_part.request
left join (copy join tape on tape.serial = copy.tape and tape.state not in ('disabled', 'exported', 'missing', 'retired'))
  on copy.package = request_part.package and copy.state = 'verified'
where request_part.state in ('waiting', 'recalling') and request_part.next_try <= now()
  and request.state in ('waiting', 'recalling') and (%(tape)s::text is null or copy.tape = %(tape)s)
  and not exists (
    select from pg_locks where locktype = 'advisory' and objsubid = 1
      and database = (select oid from pg_database where datname = current_database())
      and ((classid::bigint << 32) | objid::bigint)
          = hashtextextended('deliver:' || request_part.request || '/' || request_part.package, 0))
order by request.created_at, request_part.request, request_part.package, copy.number, copy.id limit %(limit)s

-- expected --
-- All that waits for tape or is delivered now, with the copy that it is to be read from: the first of those in `recallable`.
select request_part.request, request_part.package, request_part.problem, request.created_at, request.person,
  request.priority, copy.tape, copy.start_block, copy.size, copy.media_type, copy.capacity
from request_part join request on request.id = request_part.request
left join lateral (
  select copy.tape, copy.start_block, copy.size, tape.media_type, tape.capacity from copy join tape on tape.serial = copy.tape
  where copy.package = request_part.package and copy.state = 'verified' and tape.state not in ('disabled', 'missing', 'retired')
  order by copy.number, copy.id limit 1) as copy on true
where request_part.state in ('waiting', 'recalling') and request.state in ('waiting', 'recalling')
order by request.created_at, request_part.request, request_part.package limit %(limit)s

-- line --
-- Changes when the order of what waits may have.
select count(*) as open, count(*) filter (where state = 'asked') as asked, max(created_at) as newest, sum(priority) as priorities from request
where state in ('asked', 'waiting', 'recalling', 'ready')

-- reading --
-- Those of the tapes that somebody reads for recalls.
select serial from unnest(%(serials)s::text[]) as serial where exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) = hashtextextended('recall:' || serial, 0))

-- used --
-- What each person had from tape in the last day.
select request.person, count(*) as parts, sum(request_part.done_bytes)::bigint as bytes
from request_part join request on request.id = request_part.request
where request_part.ended_at > now() - interval '1 day' group by request.person

-- prioritise --
update request set priority = %(priority)s
where id = %(id)s and state in ('asked', 'waiting', 'recalling') and priority <> %(priority)s returning id

-- part_waits --
-- It waits for a drive: nobody has claimed it, so there is no attempt to name.
update request_part set problem = %(problem)s, next_try = %(next_try)s
where request = %(request)s and package = %(package)s and state in ('waiting', 'recalling')

-- unended --
-- Requests whose parts have all ended but which nobody closed.
select id from request where state in ('waiting', 'recalling')
  and coalesce((problem->>'next_try')::timestamptz, now()) <= now()
  and not exists (select from request_part where request = request.id and state in ('waiting', 'recalling'))

-- asked --
-- Those that wait for room in the buffer.
select id, files, bytes, problem from request where state = 'asked' order by created_at, id limit %(limit)s

-- waits --
update request set problem = %(problem)s where id = %(id)s and state = 'asked'

-- admitted --
update request set state = %(to)s, problem = null where id = %(id)s and state = 'asked' and state = any(%(from)s) returning id

-- buffered --
-- What the buffer holds or has promised, the request `id` left out.
select coalesce(sum(bytes + files * %(cost)s), 0)::bigint as bytes from request
where keep is not null and evicted_at is null and state <> 'asked' and id <> %(id)s

-- keep --
update request set keep = %(keep)s,
  expires_at = case when state = 'ready' then greatest(expires_at, now() + make_interval(secs => %(keep)s)) end
where id = %(id)s and keep is not null and state in ('asked', 'waiting', 'recalling', 'ready')

-- unpin --
update request set expires_at = now() where id = %(id)s and state = 'ready' and expires_at > now()

-- evictable --
-- Of all requests or of one: in the buffer and needed no more, and nobody is at work in its folder; the oldest pins first.
select * from request where keep is not null and evicted_at is null and (%(id)s::text is null or id = %(id)s)
  and (state = 'ready' and expires_at <= now() or state in ('failed', 'cancelled', 'expired'))
  and coalesce((problem->>'next_try')::timestamptz, now()) <= now() and not exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) in (
      select hashtextextended('deliver:' || request_part.request || '/' || request_part.package, 0)
      from request_part where request_part.request = request.id
      union all select hashtextextended('finish:' || request.id, 0)))
order by expires_at nulls first, id

-- unproven --
-- Packages that have no verified copy on a tape in use.
select package from request_part where request = %(request)s and not exists (
  select from copy join tape on tape.serial = copy.tape
  where copy.package = request_part.package and copy.state = 'verified' and tape.state not in ('disabled', 'missing', 'retired'))
order by package

-- stays --
update request set problem = %(problem)s where id = %(id)s and evicted_at is null

-- expired --
update request set state = %(to)s where id = %(id)s and expires_at <= now() and state = any(%(from)s) returning id

-- evicted --
update request set evicted_at = now(), problem = case when state = 'expired' then null else problem end where id = %(id)s

-- of_dataset_open --
-- What needs the copies of a dataset: requests that are not done, and folders in the buffer that only go when there are copies.
select id from request where dataset = %(dataset)s and (state in ('asked', 'waiting', 'recalling', 'ready')
  or (state = 'expired' and keep is not null and evicted_at is null))

-- staged --
-- What is in the buffer, that which stays longest first; `failed_files` could not be had from any tape.
select id, selection, destination, failed_files from request
where dataset = %(dataset)s and keep is not null and state = 'ready' and evicted_at is null and expires_at > now()
order by expires_at desc

-- staging --
-- What a person has brought into the buffer now.
select id, selection from request
where dataset = %(dataset)s and person = %(person)s and keep is not null and state in ('asked', 'waiting', 'recalling')
order by id

-- insert --
insert into dataset (id, site, title, owner, state, profile, profile_version, server, source, metadata,
                     metadata_digest)
values (%(id)s, %(site)s, %(title)s, %(owner)s, 'open', %(profile)s, %(profile_version)s, %(server)s, %(source)s, %(metadata)s,
        %(digest)s)

-- restore --
-- From the media: as it was, with its times; without its source, until it is known which dataset is the newest of it.
insert into dataset (id, site, title, owner, state, profile, profile_version, server, source, metadata, segments, files,
                     bytes, created_at, closed_at, source_released_at)
values (%(id)s, %(site)s, %(title)s, %(owner)s, 'closed', %(profile)s, %(profile_version)s, %(server)s, %(source)s,
        %(metadata)s, %(segments)s, 0, 0, %(created_at)s, %(created_at)s, %(created_at)s)
on conflict (id) do nothing

-- by_id --
select dataset.*, profile.body as contract from dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
where id = %(id)s

-- by_ids --
select dataset.*, profile.body as contract from dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
where id = any(%(ids)s)

-- by_source --
select id, title, state, created_at, source_released_at from dataset
where site = %(site)s and server = %(server)s and source = %(source)s and state <> 'deleted'
order by source_released_at desc nulls first, created_at desc limit 1

-- page --
select dataset.*, profile.body as contract from dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
where (%(deleted)s or state <> 'deleted')
  and (%(sight)s::text[] is null or visible_to && %(sight)s)
  and (%(before)s::timestamptz is null or (dataset.created_at, dataset.id) < (%(before)s, %(before_id)s))
order by dataset.created_at desc, dataset.id desc limit %(limit)s

-- closing --
update dataset set state = 'closing', segments = %(segments)s, files = %(files)s, bytes = %(bytes)s, problem = null
where id = %(id)s and state = any(%(from)s) returning id

-- close_if_packed --
update dataset set state = 'closed', closed_at = now(), problem = null
where id = %(id)s and state = any(%(from)s)
  and not exists (select from package where dataset = %(id)s and state in ('planned', 'packing'))
returning id

-- safe_if_proven --
-- Every package has verified copies on as many distinct tapes as the profile wants (P2, P3).
update dataset set safe_at = now()
where id = %(id)s and state = 'closed' and safe_at is null
  and not exists (
    select from package where dataset = %(id)s and state <> 'retired' and (
      select count(distinct tape) from copy where package = package.id and state = 'verified') < %(wanted)s)
returning id

-- fail --
update dataset set state = 'deleted', deleted_at = now(), problem = %(problem)s
where id = %(id)s and state = any(%(from)s) returning id

-- problem --
update dataset set problem = %(problem)s where id = %(id)s

-- incomplete --
-- Restored from the media, and not yet looked at as a whole, or lacking something then.
select dataset.id, segments, profile.body as contract,
  exists (select from event where event.dataset = dataset.id and kind = 'dataset.rebuilt') as told,
  case when problem->>'code' = 'packages-missing' then problem->>'sentence' else '' end as lacking
from dataset join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
where state = 'closed' and (safe_at is null
  or not exists (select from event where event.dataset = dataset.id and kind = 'dataset.rebuilt')) order by dataset.id

-- source_passed_on --
-- The source of all but the newest dataset of a folder had been removed when the next one was made; of those that were
-- restored and not looked at yet, and of one that was the newest until now.
update dataset set source_released_at = line.next from (
  select id, lead(created_at) over (partition by site, server, source order by created_at, id) as next
  from dataset where state <> 'deleted') as line
where line.id = dataset.id and line.next is not null and (source_released_at is null
  or not exists (select from event where event.dataset = dataset.id and kind = 'dataset.rebuilt'))

-- source_is_here --
-- As far as the media know; of the newest dataset of a folder.
update dataset set source_released_at = null from (
  select id, lead(id) over (partition by site, server, source order by created_at, id) as next
  from dataset where state <> 'deleted') as line
where line.id = dataset.id and line.next is null
  and not exists (select from event where event.dataset = dataset.id and kind = 'dataset.rebuilt')

-- source_released --
update dataset set source_released_at = now() where id = %(id)s

-- add_totals --
update dataset set files = files + %(files)s, bytes = bytes + %(bytes)s where id = %(id)s

-- unscanned --
select id from dataset where state = 'open' and source is not null and coalesce((problem->>'next_try')::timestamptz, now()) <= now()

-- unclosed --
select id from dataset where state = 'closing'
  and not exists (select from package where dataset = dataset.id and state in ('planned', 'packing'))

-- insert --
insert into dataset (id, site, title, owner, state, profile, profile_version, server, source, metadata, metadata_digest, "group",
                     landing, extends, keep_days)
values (%(id)s, %(site)s, %(title)s, %(owner)s, 'open', %(profile)s, %(profile_version)s, %(server)s, %(source)s,
        %(metadata)s, %(digest)s, %(group)s, %(landing)s, %(extends)s, %(keep_days)s)

-- restore --
-- From the media: as it was, with its times; without its source, until it is known which dataset is the newest of it.
insert into dataset (id, site, title, owner, state, profile, profile_version, server, source, metadata, "group", landing,
                     extends, keep_days, segments, files, bytes, created_at, closed_at, source_released_at)
values (%(id)s, %(site)s, %(title)s, %(owner)s, 'closed', %(profile)s, %(profile_version)s, %(server)s, %(source)s,
        %(metadata)s, %(group)s, %(landing)s, %(extends)s, %(keep_days)s, %(segments)s, 0, 0, %(created_at)s, %(created_at)s, %(created_at)s)
on conflict (id) do nothing

-- by_id --
select dataset.*, profile.body as contract from dataset
join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
where id = %(id)s

-- used --
-- Bytes that an owner has in datasets of a profile, but for one, with those on their way.
select coalesce(sum(bytes + coalesce((
    select sum(length) from upload where upload.dataset = dataset.id and ended_at is null and expires_at > now()), 0)), 0)::bigint as bytes
from dataset where profile = %(profile)s and state <> 'deleted' and id is distinct from %(id)s
  and case when %(group)s::text is null then owner = %(owner)s and "group" is null else "group" = %(group)s end

-- listed --
-- In the order of the ids; what is gone is left out. What one of them extends is named to who may see that.
select coalesce(json_agg(listed order by place), '[]')::text as datasets from (
  select place, id, title, owner, "group", state, profile, profile_version, server, source, landing, closing, files, bytes,
    case when extends is not null and (%(sight)s::text[] is null or exists (
      select from dataset as base where base.id = told.extends and base.visible_to && %(sight)s)) then extends end as extends,
    created_at, closed_at, safe_at, deleted_at, source_released_at, tombstone, problem, wanted, brief as metadata, facts
  from unnest(%(ids)s::text[]) with ordinality as asked (id, place) join told using (id)) as listed

-- told --
select told from whole where id = %(id)s

-- by_source --
select id, title, state, created_at, source_released_at from dataset
where site = %(site)s and server = %(server)s and source = %(source)s and state <> 'deleted'
order by source_released_at desc nulls first, created_at desc limit 1

-- page --
select id from dataset
where (%(deleted)s or state <> 'deleted')
  and (%(sight)s::text[] is null or visible_to && %(sight)s)
  and (%(before)s::timestamptz is null or (created_at, id) < (%(before)s, %(before_id)s))
order by created_at desc, id desc limit %(limit)s

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
update dataset set state = 'deleted', deleted_at = now(), problem = %(problem)s, extraction = null, extraction_problem = null
where id = %(id)s and state = any(%(from)s) returning id

-- close_wanted --
update dataset set close_wanted = now(), problem = null
where id = %(id)s and state = 'open' and landing and close_wanted is null returning id

-- reopened --
-- It could not be closed.
update dataset set close_wanted = null, problem = %(problem)s where id = %(id)s and state = 'open' and landing returning id

-- landed_and_safe --
-- Whose folder in landing is to be removed; again a day after that did not succeed. Nobody asked for it to go at once: what its
-- files say is read first, if that is done in an hour: others may wait to be read, each for ten minutes.
select id from dataset where landing and source_released_at is null and state = 'closed' and safe_at is not null
  and (extraction is not null or extraction_problem is not null or safe_at < now() - interval '1 hour')
  and not exists (select from release where dataset = dataset.id and (ended_at is null or ended_at > now() - interval '1 day'))

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
select id from dataset where state = 'open' and source is not null and (not landing or close_wanted is not null)
  and coalesce((problem->>'next_try')::timestamptz, now()) <= now()

-- ending --
-- Whose embargo ends soon and has not been told; told again when the end is another one, for the profile was changed.
update dataset set end_told = soon.ends_at from (
  select dataset.id, ends_at, profile.body->>'open_to' as audience from dataset
  join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
  cross join lateral (select closed_at + make_interval(days => coalesce((body->>'embargo_days')::int, 0)) as ends_at,
    make_interval(days => coalesce((body->>'notice_days')::int, %(usual)s)) as notice) as term
  where state = 'closed' and opened_at is null and profile.body->>'open_to' in ('members', 'everyone')
    and ends_at > now() and ends_at - notice <= now() and end_told is distinct from ends_at limit %(limit)s) as soon
where dataset.id = soon.id returning dataset.id, soon.audience, soon.ends_at

-- unextracted --
-- Whose files nobody looked at while they are there, and nobody looks at now (the server frees the lock of who is gone).
select id from dataset where extraction is null and state in ('closing', 'closed') and source is not null and source_released_at is null
  and coalesce((extraction_problem->>'next_try')::timestamptz, now()) <= now() and not exists (
  select from pg_locks where locktype = 'advisory' and objsubid = 1
    and database = (select oid from pg_database where datname = current_database())
    and ((classid::bigint << 32) | objid::bigint) = hashtextextended('extract:' || dataset.id, 0))
order by id limit %(limit)s

-- to_extract --
select id, source, files, closed_at, extraction_problem from dataset where id = %(id)s
  and extraction is null and state in ('closing', 'closed') and source is not null and source_released_at is null

-- extracted --
update dataset set extraction = %(extraction)s, extraction_problem = null
where id = %(id)s and extraction is null and state <> 'deleted' returning id

-- extraction_waits --
update dataset set extraction_problem = %(problem)s where id = %(id)s and extraction is null

-- opening --
-- Whose embargo has ended, for those whom the profile names.
update dataset set opened_at = now() where id in (
  select dataset.id from dataset
  join profile on profile.name = dataset.profile and profile.version = dataset.profile_version
  where state = 'closed' and opened_at is null and profile.body->>'open_to' in ('members', 'everyone')
    and closed_at <= now() - make_interval(days => coalesce((profile.body->>'embargo_days')::int, 0)) limit %(limit)s)
returning id, (select body->>'open_to' from profile
  where profile.name = dataset.profile and profile.version = dataset.profile_version) as audience

-- unclosed --
select id from dataset where state = 'closing'
  and not exists (select from package where dataset = dataset.id and state in ('planned', 'packing'))

-- change_profile --
update dataset set profile = %(profile)s, profile_version = %(version)s where id = %(id)s

-- chain --
-- What a dataset extends, itself first. It has no circles: a dataset extends one that is older.
with recursive chain as (
  select id, extends, 1 as place from dataset where id = %(id)s
  union all select dataset.id, dataset.extends, place + 1 from dataset join chain on dataset.id = chain.extends)
select id from chain join dataset using (id) where %(sight)s::text[] is null or visible_to && %(sight)s order by place

-- in_use --
-- What stands in the way of deleting a dataset; one that extends it is named to who may see that.
select now() as now, exists (
    select from dataset as newer where newer.extends = dataset.id and newer.state <> 'deleted') as extended, (
    select id from dataset as newer where newer.extends = dataset.id and newer.state <> 'deleted'
      and (%(sight)s::text[] is null or newer.visible_to && %(sight)s) limit 1) as extended_by,
  exists (select from release where release.dataset = dataset.id and (
    state in ('asked', 'applying') or state = 'planned' and apply)) as releasing,
  exists (select from copy join package on package.id = copy.package
    where package.dataset = dataset.id and copy.state = 'writing') as writing
from dataset where id = %(id)s

-- ask_deletion --
-- A first person wants it deleted; null: not any more.
update dataset set tombstone = %(tombstone)s where id = %(id)s

-- delete --
update dataset set state = 'deleted', deleted_at = now(), tombstone = %(tombstone)s, problem = null, extraction = null,
  extraction_problem = null
where id = %(id)s and state = any(%(from)s) returning id

-- deleted_in_landing --
select id from dataset where id = any(%(ids)s) and landing and state = 'deleted'

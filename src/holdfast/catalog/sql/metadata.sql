-- current --
select metadata, metadata_version as version, metadata_digest as digest, extraction from dataset
where id = %(dataset)s and state <> 'deleted'

-- lock --
select metadata, metadata_version as version, metadata_digest as digest,
  state <> 'open' or close_wanted is not null or not landing as complete
from dataset where id = %(dataset)s and state <> 'deleted' for no key update

-- write --
update dataset set metadata = %(metadata)s, metadata_version = %(version)s, metadata_digest = %(digest)s
where id = %(dataset)s and metadata_version = %(version)s - 1

-- note_changes --
insert into metadata_change (dataset, version, key, person, old, new)
select %(dataset)s, %(version)s, key, %(person)s, old, new
from unnest(%(keys)s::text[], %(olds)s::jsonb[], %(news)s::jsonb[]) as given (key, old, new)

-- history --
select version, key, at, person, old, new from metadata_change
where dataset = %(dataset)s and (%(key)s::text is null or key = %(key)s)
  and (%(before)s::integer is null or (version, key) < (%(before)s, %(before_key)s))
order by version desc, key desc limit %(limit)s

-- origins --
-- Who set each key last; of those that nobody changed, the owner.
select distinct on (key) key, at, person from metadata_change where dataset = %(dataset)s order by key, version desc

-- stale --
select search.id as search, dataset.id, dataset.title, dataset.owner, dataset."group", dataset.profile, dataset.files,
  dataset.bytes, dataset.created_at, dataset.closed_at, dataset.metadata
from search join dataset on dataset.id = search.dataset
where search.stale and (%(dataset)s::text is null or search.dataset = %(dataset)s)
order by search.id limit %(limit)s for no key update of search skip locked

-- write --
update search set stale = false, terms = %(terms)s, texts = %(texts)s, numbers = %(numbers)s where id = %(search)s

-- forget_numbers --
delete from number where search = %(search)s

-- add_numbers --
insert into number (key, value, search)
select key, value, %(search)s from unnest(%(keys)s::bigint[], %(values)s::float8[]) as given (key, value)

-- add_spellings --
-- In one order, so that two who add the same do not wait for each other.
insert into spelling (key, text, term)
select key, text, term from unnest(%(keys)s::text[], %(texts)s::text[], %(terms)s::bigint[]) as given (key, text, term)
order by key collate "C", text collate "C" on conflict do nothing

-- spelled --
-- Texts of a key, or words (key ''), that fit a pattern; those lie from `low` up to `high`.
select term from spelling
where key = %(key)s and text >= %(low)s and (%(high)s::text is null or text < %(high)s)
  and text like %(pattern)s limit %(limit)s

-- size --
select reltuples::bigint as datasets from pg_class where oid = 'search'::regclass

-- facet --
select texts->>%(key)s as value, count(*) as count from search
where id = any(%(ids)s) and texts ? %(key)s group by 1 order by 2 desc, 1 limit %(limit)s

-- copy_in --
copy listing (dataset, segment, last_path, packed, entries, names, block) from stdin (format binary)

-- delete_segment --
delete from listing where dataset = %(dataset)s and segment = %(segment)s

-- delete_dataset --
delete from listing where dataset = %(dataset)s

-- of_segment --
select block from listing where dataset = %(dataset)s and segment = %(segment)s order by last_path

-- after_path --
-- Blocks of one dataset do not overlap, so the order of their last paths is path order.
select last_path, segment, block from listing
where dataset = %(dataset)s and (last_path, segment) > (%(path)s, %(segment)s)
order by last_path, segment limit %(limit)s

-- by_name --
-- Fenced: the planner must not walk the primary key, which has the order but not the names.
with found as materialized (
  select dataset, last_path, segment, block from listing where names @> array[%(hash)s::int]
    and (%(sight)s::text[] is null or exists (
      select from dataset where dataset.id = listing.dataset and dataset.visible_to && %(sight)s)))
select dataset, last_path, segment, block from found
where (dataset, last_path, segment) > (%(dataset)s, %(path)s, %(segment)s)
order by dataset, last_path, segment limit %(limit)s

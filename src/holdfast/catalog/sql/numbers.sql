-- statistics --
select d.*, p.*, c.*, t.*,
  (select coalesce(percentile_cont(0.5) within group (order by rate), 0) from (
     select rate from copy where rate > 0 and written_at is not null order by written_at desc limit 100) as newest) as write_rate
from (
  select count(*) as datasets, count(*) filter (where state = 'closed' and safe_at is not null) as datasets_secured,
    coalesce(sum(files), 0)::bigint as files, coalesce(sum(bytes), 0)::bigint as bytes_archived,
    coalesce(sum(bytes) filter (where source is not null and source_released_at is null), 0)::bigint as bytes_on_disk,
    coalesce(sum(bytes) filter (where source_released_at is not null), 0)::bigint as bytes_recovered
  from dataset where state <> 'deleted') as d, (
  select count(*) as packages, count(*) filter (where state = 'released') as packages_secured,
    coalesce(sum(size), 0)::bigint as bytes_packed
  from package where state <> 'retired') as p, (
  select count(*) filter (where state = 'verified') as copies_verified, count(*) filter (where state = 'lost') as copies_lost,
    coalesce(sum(size) filter (where state = 'verified'), 0)::bigint as bytes_on_tape,
    coalesce(sum(size) filter (where written_at > now() - interval '24 hours'), 0)::bigint as bytes_last_day
  from copy) as c, (
  select count(*) as tapes, count(*) filter (where state in ('broken', 'suspect')) as tapes_faulty,
    coalesce(sum(capacity), 0)::bigint as capacity, coalesce(sum(capacity - free), 0)::bigint as used,
    coalesce(sum(capacity) filter (where free < capacity), 0)::bigint as begun
  from tape where state <> 'retired') as t

-- packages --
-- Where a search is given: name or dataset contain it, or a tape is called so.
select package.id, package.dataset, package.name, package.digest as blake3, package.payload, package.size,
  (array_agg(copy.tape order by copy.number) filter (where copy.state = 'verified')) as tapes
from package left join copy on copy.package = package.id
where package.state <> 'retired' and package.id > %(after)s and (%(search)s = ''
  or position(lower(%(search)s) in lower(package.name)) > 0 or package.dataset = %(search)s
  or exists (select from copy as held where held.package = package.id and held.tape = %(search)s and held.state = 'verified'))
group by package.id order by package.id limit %(limit)s

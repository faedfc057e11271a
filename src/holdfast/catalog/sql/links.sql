-- insert --
insert into link (id, dataset, path, digest, password, label, created_by, expires_at, most)
values (%(id)s, %(dataset)s, %(path)s, %(digest)s, %(password)s, %(label)s, %(person)s, %(expires_at)s, %(most)s)

-- of_dataset --
select link.*, dataset.state as of_state from link join dataset on dataset.id = link.dataset
where dataset = %(dataset)s order by link.created_at desc, link.id desc

-- by_id --
select link.*, dataset.state as of_state from link join dataset on dataset.id = link.dataset where link.id = %(id)s

-- good --
-- A link that opens something; `shut`: too many wrong passwords lately. One that is used up, only for who just used it.
select link.*, dataset.title, failures >= %(failures)s and failed_at > now() - make_interval(secs => %(pause)s) as shut
from link join dataset on dataset.id = link.dataset
where digest = %(digest)s and revoked_at is null and expires_at > now() and dataset.state = 'closed'
  and (most is null or downloads < most or exists (
    select from link_use where link_use.link = link.id and address = %(address)s and at > now() - interval '1 hour'))
  and exists (select from person where person.name = link.created_by and person.state = 'active')

-- tried --
-- Whether the password was right. No row: meanwhile there were too many wrong ones, and it is not told.
update link set failures = case when %(right)s then 0 when failed_at > now() - make_interval(secs => %(pause)s) then failures + 1 else 1 end,
  failed_at = case when %(right)s then failed_at else now() end
where id = %(id)s and not coalesce(failures >= %(failures)s and failed_at > now() - make_interval(secs => %(pause)s), false)
returning id

-- used --
-- One more download, if one is left. The same one from the same address within an hour, as a program that resumes makes
-- it, is not counted again.
with again as (
  select from link_use where link = %(id)s and address = %(address)s and what = %(what)s and at > now() - interval '1 hour'
), counted as (
  update link set downloads = downloads + 1
  where id = %(id)s and not exists (select from again) and (most is null or downloads < most) returning id
), noted as (
  insert into link_use (link, address, what) select id, %(address)s, %(what)s from counted
)
select exists (select from counted) or exists (select from again) as allowed

-- revoke --
update link set revoked_at = now() where id = %(id)s and revoked_at is null returning dataset

-- uses --
select at, address, what from link_use where link = %(id)s order by id desc limit %(limit)s

-- insert --
insert into profile (name, version, body) values (%(name)s, %(version)s, %(body)s) on conflict (name, version) do nothing

-- newest --
select body, retired_at from profile where name = %(name)s order by version desc limit 1

-- offered --
-- The newest version of each, with the number of datasets that keep any of its versions.
select distinct on (name) name, version, body, retired_at, created_at, (
  select count(*) from dataset where dataset.profile = profile.name and state <> 'deleted') as datasets
from profile where %(retired)s or retired_at is null order by name, version desc

-- versions --
select body, retired_at, created_at, (select count(*) from dataset where dataset.profile = profile.name
  and dataset.profile_version = profile.version and state <> 'deleted') as datasets
from profile where name = %(name)s order by version

-- retire --
update profile set retired_at = now() where name = %(name)s and retired_at is null returning version

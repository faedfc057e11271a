-- of_dataset --
select coalesce("grant".person, 'group:' || "grant"."group", audience) as to,
  coalesce(person.title, "group".title, '') as title, "grant".role, granted_by, "grant".created_at
from "grant" left join person on person.name = "grant".person left join "group" on "group".name = "grant"."group"
where dataset = %(dataset)s order by "grant".id

-- add --
insert into "grant" (dataset, person, "group", audience, role, granted_by)
values (%(dataset)s, %(person)s, %(group)s, %(audience)s, %(role)s, %(by)s) on conflict do nothing returning role

-- change --
update "grant" set role = %(role)s, granted_by = %(by)s
where dataset = %(dataset)s and role <> %(role)s
  and (person = %(person)s or "group" = %(group)s or audience = %(audience)s)
returning role

-- drop --
delete from "grant"
where dataset = %(dataset)s and (person = %(person)s or "group" = %(group)s or audience = %(audience)s)
returning role

-- role --
select role from "grant"
where dataset = %(dataset)s and (person = %(person)s or "group" = %(group)s or audience = %(audience)s)

-- give --
update dataset set owner = %(owner)s where id = %(dataset)s and owner <> %(owner)s and state <> 'deleted' returning id

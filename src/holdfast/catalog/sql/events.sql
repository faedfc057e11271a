-- add --
insert into event (site, kind, dataset, person, body)
values (%(site)s, %(kind)s, %(dataset)s, %(person)s, %(body)s)

-- after --
-- Transactions in flight may still commit with a smaller number: stay below the oldest of them (P4).
select xid::text as xid, id, site, at, kind, dataset, person,
  case when %(sight)s::text[] is null or body->>'extends' is null or exists (
    select from dataset as base where base.id = body->>'extends' and base.visible_to && %(sight)s)
  then body else body - 'extends' end as body from event
where (xid, id) > (%(xid)s::xid8, %(id)s) and xid < pg_snapshot_xmin(pg_current_snapshot())
  and (%(dataset)s::text is null or dataset = %(dataset)s)
  and (%(sight)s::text[] is null or exists (
    select from dataset where dataset.id = event.dataset and dataset.visible_to && %(sight)s
      -- Who else has it, and what became of its source, is told to those who manage it, and to who did it or asked for it.
      and (split_part(kind, '.', 1) not in ('request', 'link', 'source')
        and kind not in ('dataset.shared', 'dataset.unshared', 'dataset.given')
        or event.person = %(person)s or owner = %(person)s or dataset."group" = any(%(managed)s)
        or exists (select from "grant" where "grant".dataset = event.dataset and "grant".role in ('owner', 'manager')
          and ("grant".person = %(person)s or 'g:' || "grant"."group" = any(%(sight)s)))
        or exists (select from request where request.id = body->>'request' and request.person = %(person)s))))
order by event.xid, id limit %(limit)s

-- of_dataset --
select at, kind, person, body from event where dataset = %(dataset)s order by id

-- newest_problems --
select at, kind, dataset, body from event
where kind in ('package.problem', 'copy.problem', 'copy.suspect', 'copy.lost', 'tape.fenced', 'tape.warned', 'dataset.failed', 'request.failed')
order by xid desc, id desc limit %(limit)s

-- first_of_kind --
select at, kind, body from event where kind = %(kind)s order by xid, id limit 1

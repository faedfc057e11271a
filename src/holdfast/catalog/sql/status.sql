-- queues --
select queue_name as queue, count(*) filter (where status = 'todo') as waiting, count(*) filter (where status = 'doing') as running
from procrastinate_jobs where status in ('todo', 'doing') group by queue_name order by queue_name

-- stalled --
-- Jobs of workers that are gone: the planner defers what is still owed again.
delete from procrastinate_jobs where status = 'doing' and (worker_id is null or worker_id in (
  select id from procrastinate_workers where last_heartbeat < now() - make_interval(secs => %(seconds)s)))
returning id

-- dead_workers --
delete from procrastinate_workers where last_heartbeat < now() - make_interval(secs => %(seconds)s)

-- totals --
select count(*) filter (where state <> 'deleted') as datasets, count(safe_at) filter (where state = 'closed') as safe,
  coalesce(sum(files) filter (where state <> 'deleted'), 0)::bigint as files,
  coalesce(sum(bytes) filter (where state <> 'deleted'), 0)::bigint as bytes from dataset

-- copies --
select state, count(*) as copies, coalesce(sum(size), 0)::bigint as bytes from copy group by state order by state

-- requests --
select state, count(*) as requests from request group by state order by state

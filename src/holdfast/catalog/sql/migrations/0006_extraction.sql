-- Metadata that come from the files themselves.

alter table dataset
    add column extraction         jsonb,    -- what was looked at, read and not read (wire/metadata.py); null: not yet
    add column extraction_problem jsonb;    -- why that waits
-- planner: whose files nobody looked at while they are there.
create index dataset_unextracted on dataset (id)
    where extraction is null and state in ('closing', 'closed') and source_released_at is null;

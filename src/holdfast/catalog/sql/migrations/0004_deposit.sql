-- Datasets that are made by hand: files are added to a folder of the landing area until the dataset is closed.

alter table dataset
    add column landing      boolean not null default false,  -- source is a folder of the landing area, which is ours
    add column close_wanted timestamptz,                     -- from then on nothing is added or removed
    add column extends      text,                            -- whose files it adds to; a rebuild may not know of it
    add column keep_days    integer check (keep_days >= 0),  -- not deleted sooner after closing; null: as the profile says
    add column tombstone    jsonb,                           -- of a deletion: who, why, when, digest of the file list
    add column opened_at    timestamptz,                     -- when its embargo ended; opened once, whatever is decided later
    add column end_told     timestamptz;                     -- the end of its embargo of which notice was given
-- planner: whose embargo may have ended, or will soon.
create index dataset_embargoed on dataset (closed_at) where state = 'closed' and opened_at is null;
-- What a person has under a profile.
create index dataset_owned on dataset (owner, profile) where "group" is null and state <> 'deleted';
create index dataset_extends on dataset (extends) where extends is not null;
-- planner: what is safe, and whose landing folder nobody removed.
create index dataset_landed on dataset (id) where landing and source_released_at is null;

-- The files of a dataset in landing. What is in its folder and has no row here is not there.
create table landed (
    dataset   text        not null references dataset (id),
    path      bytea       not null,
    size      bigint      not null,
    mtime_ns  bigint      not null,
    blake3    bytea       not null,                  -- of the bytes as they came; of a link, of its target
    kind      text        not null default 'file' check (kind in ('file', 'link', 'directory')),
    target    bytea       not null default '',       -- of a link
    mode      integer     not null,                  -- of a file, as it will be delivered; in landing only we read it
    person    text        not null,
    at        timestamptz not null default now(),
    primary key (dataset, path)
);

-- One file on its way into a dataset; its bytes are in landing/.incoming/ID.
create table upload (
    id         text        primary key,
    dataset    text        not null references dataset (id),
    person     text        not null,
    path       bytea       not null,
    length     bigint      not null check (length >= 0),
    attempt    integer     not null default 0,       -- of the call that brings bytes; noting and ending need it (P7)
    received   bigint      not null default 0,       -- durable; what is in the file beyond does not count
    mtime_ns   bigint,
    mode       integer     not null,
    metadata   text        not null default '',      -- as the client sent it; of what is fetched, by what it is known again
    origin     bytea,                                -- the archive fetches it: a path of its server, or an address
    problem    jsonb,                                -- why that waits
    resumable  boolean     not null,                 -- else it ends with the call that makes it
    created_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at   timestamptz                           -- it is in its dataset
);
create index upload_dataset on upload (dataset) where ended_at is null;
create index upload_expires on upload (expires_at);
create index upload_brief on upload (id) where not resumable;
-- planner: what the archive is to fetch.
create index upload_fetch on upload (id) where origin is not null and ended_at is null;

alter table profile add column retired_at timestamptz;

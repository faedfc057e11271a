-- The spine: profiles, datasets, packages, copies, tapes, listings, requests, releases, events, reservations.
-- Rows carry their site of origin and are written only there. Core PostgreSQL only: no extension is needed.

create table profile (
    name       text        not null,
    version    integer     not null,
    body       jsonb       not null,
    created_at timestamptz not null default now(),
    primary key (name, version)
);

create table dataset (
    id              text        primary key,
    site            text        not null,
    title           text        not null,
    owner           text        not null,
    state           text        not null check (state in ('open', 'closing', 'closed', 'deleted')),
    profile         text        not null,
    profile_version integer     not null,
    server          text        not null,
    source          bytea,                           -- absolute path on the server; bytes, for not all names are UTF-8
    metadata        jsonb       not null default '{}',
    segments        integer     not null default 0,
    files           bigint      not null default 0,
    bytes           bigint      not null default 0,
    created_at      timestamptz not null default now(),
    closed_at       timestamptz,
    safe_at         timestamptz,                     -- when the profile was first satisfied by verified copies
    deleted_at      timestamptz,
    source_released_at timestamptz,
    problem         jsonb,                           -- code, sentence, since, tries, next_try, who (P9)
    foreign key (profile, profile_version) references profile (name, version)
);
-- register: a source is archived once.
create unique index dataset_source on dataset (site, server, source)
    where state <> 'deleted' and source_released_at is null;
-- ls: newest first.
create index dataset_newest on dataset (created_at desc, id desc);
-- planner: what is not finished.
create index dataset_unsafe on dataset (id) where state in ('open', 'closing') or (state = 'closed' and safe_at is null);

create table package (
    id          text        primary key,
    dataset     text        not null references dataset (id),
    segment     integer     not null,
    state       text        not null check (state in ('planned', 'packing', 'staged', 'released', 'retired')),
    attempt     integer     not null default 0,      -- of the claim; finishing needs it (P7)
    packaging   text        not null check (packaging in ('bag', 'plain')),
    name        text        not null,                -- on the medium
    files       bigint      not null,
    payload     bigint      not null,                -- bytes of the source
    packed_files bigint     not null default 0,      -- progress
    packed_bytes bigint     not null default 0,
    size        bigint,                              -- bytes of the package
    digest      text,                                -- BLAKE3 of the package, hex
    sidecar     text,                                -- of a plain package: what lies beside it on each tape
    created_at  timestamptz not null default now(),
    packed_at   timestamptz,
    released_at timestamptz,
    problem     jsonb,
    next_try    timestamptz not null default now(),
    unique (dataset, segment),
    check (sidecar is null or packaging = 'plain'),
    check (sidecar is not null or packaging = 'bag' or packed_at is null)
);
-- planner: packages that are not packed, or whose staging is not freed.
create index package_unfinished on package (state, next_try) where state in ('planned', 'packing', 'staged');

create table tape (
    serial      text        primary key,
    site        text        not null,
    library     text        not null,
    media_type  text        not null,
    state       text        not null check (state in ('new', 'active', 'full', 'suspect', 'disabled', 'repacking', 'exported',
                                                    'broken', 'missing', 'retired')),
    capacity    bigint      not null,
    free        bigint      not null,                -- as the volume said last
    generation  bigint      not null default 0,
    lock_state  integer     not null default 0,
    rebuilt     bigint,                              -- generation at which a rebuild of the catalogue read it whole
    batch       text        not null default '',     -- who made it, and when; twins should be of different ones
    twin        text        not null default '',     -- the tape that the same packages go to; a habit, no rule
    families    text[]      not null default '{}',   -- whose data it has, or is meant for: proposals, else beamlines
    health      jsonb,                               -- its counters as they were known last
    baseline    jsonb       not null default '{}',   -- its counters when it was last taken into use
    trusted_at  timestamptz not null default now(),  -- when it was last taken into use; what failed before is forgiven
    problem     jsonb,
    changed_at  timestamptz not null default now()
);

-- How long drives took from one place of a tape to another: what its wraps are learned from.
create table locate (
    tape        text             not null references tape (serial),
    number      bigint           generated always as identity,
    from_byte   bigint           not null,
    to_byte     bigint           not null,
    seconds     double precision not null,
    at          timestamptz      not null default now(),
    primary key (tape, number)
);

create table copy (
    id           bigint generated always as identity primary key,
    package      text        not null references package (id),
    number       integer     not null,
    state        text        not null
                 check (state in ('planned', 'writing', 'written', 'verified', 'suspect', 'lost', 'retired')),
    attempt      integer     not null default 0,
    tape         text        references tape (serial),
    size         bigint,
    moved        bigint      not null default 0,     -- bytes written, or read back, so far
    start_block  bigint,
    generation   bigint,
    drive        text,
    rate         double precision,                   -- bytes per second of the write
    digest       text,                               -- as read back from the medium
    written_at   timestamptz,
    verified_at  timestamptz,
    check_wanted timestamptz,                        -- somebody asked for a new read; newer than verified_at: owed
    erased_at    timestamptz,                        -- retired: gone from its tape; lost: its tape vouches no more
    problem      jsonb,
    next_try     timestamptz not null default now(),
    created_at   timestamptz not null default now()
);
create index copy_package on copy (package);
create index copy_tape on copy (tape);
-- P3: two live copies of a package are never on one medium.
create unique index copy_medium on copy (package, tape) where state not in ('lost', 'retired');
create unique index copy_number on copy (package, number) where state not in ('lost', 'retired');
-- planner: what is not proven, or is to be proven again.
create index copy_unfinished on copy (state, next_try) where state in ('planned', 'writing', 'written', 'suspect');
create index copy_check on copy (check_wanted) where check_wanted is not null;
create index copy_erase on copy (next_try) where state in ('retired', 'lost') and erased_at is null;

-- What is to be read whole: written and not read back, suspect, asked for, or wanted in staging because another copy
-- of its package is owed and staging has it no more. Such a copy comes from a tape that is to be emptied, if there is one.
create view copy_to_read as
select copy.*, false as wanted_in_staging from copy join tape on tape.serial = copy.tape
where tape.state not in ('disabled', 'exported', 'retired') and copy.next_try <= now()
  and (copy.state in ('written', 'suspect') or (copy.state = 'verified' and copy.check_wanted is not null))
union all
select source.*, true from (
  select distinct package from copy where state = 'planned' and next_try <= now()) as owed
join package on package.id = owed.package and package.state = 'released'
cross join lateral (
  select copy.* from copy join tape on tape.serial = copy.tape
  where copy.package = owed.package and copy.state = 'verified' and copy.check_wanted is null
    and tape.state not in ('disabled', 'exported', 'missing', 'retired')
  order by tape.state = 'repacking' desc, copy.number, copy.id limit 1) as source;

-- One tape in one drive, from begin to end; kept for a year. No references: it tells what was, also of what is gone.
create table mount (
    id            bigint generated always as identity primary key,
    site          text        not null,
    tape          text        not null,
    drive         text        not null,
    mode          text        not null check (mode in ('read', 'write')),
    purpose       text        not null,
    began_at      timestamptz not null default clock_timestamp(),
    ended_at      timestamptz,
    bytes_read    bigint      not null default 0,
    bytes_written bigint      not null default 0,
    problem       text,                              -- the code of what went wrong
    before        jsonb       not null default '{}', -- the tape's counters
    after         jsonb       not null default '{}',
    recovered_errors bigint   not null default 0,    -- that were counted in between
    permanent_errors bigint   not null default 0
);
create index mount_tape on mount (tape, id);
create index mount_drive on mount (drive, id);
create index mount_began on mount (began_at);
create index mount_ended on mount (ended_at);
-- planner: those that nobody ended.
create index mount_open on mount (tape) where ended_at is null;

-- What the library cannot say of its drives: who took one out of use, and since when one is trusted.
create table drive (
    name       text        primary key,
    site       text        not null,
    reason     text,                                 -- why it is out of use
    decided_by text        check (decided_by in ('operator', 'planner', 'watchdog')),
    since      timestamptz,
    trusted_at timestamptz not null default now(),
    check ((reason is null) = (decided_by is null))
);

-- About 1,000 entries of a dataset in path order; a row per file would cost six times the room.
create table listing (
    dataset    text    not null references dataset (id),
    segment    integer not null,
    last_path  bytea   not null,
    packed     boolean not null,                     -- digests and places are known
    entries    integer not null,
    names      integer[] not null,                   -- 32-bit hashes of the base names
    block      bytea   not null,                     -- catalog/listings.py, compressed
    primary key (dataset, last_path, segment)
);
alter table listing alter column block set storage external;
-- pack: the entries of one package.
create index listing_segment on listing (dataset, segment);
-- find: a file by its name, in all datasets.
create index listing_names on listing using gin (names) with (fastupdate = off);

create table request (
    id          text        primary key,
    site        text        not null,
    dataset     text        not null references dataset (id),
    person      text        not null,
    priority    integer     not null default 0 check (priority between -10 and 10),
    selection   bytea[]     not null,                -- paths; none: everything
    destination bytea       not null,
    state       text        not null
                check (state in ('asked', 'waiting', 'recalling', 'ready', 'delivered', 'failed', 'cancelled', 'expired')),
    files       bigint      not null default 0,
    bytes       bigint      not null default 0,
    done_files  bigint      not null default 0,
    done_bytes  bigint      not null default 0,
    failed_files bigint     not null default 0,
    keep        double precision,                    -- seconds; staged: its files stay in the buffer for so long
    expires_at  timestamptz,                         -- when they are there: end of the pin
    evicted_at  timestamptz,                         -- staged: nothing of it is in the buffer any more
    created_at  timestamptz not null default now(),
    ended_at    timestamptz,
    problem     jsonb
);
create index request_newest on request (created_at desc, id desc);
create index request_buffered on request (expires_at) where keep is not null and evicted_at is null;
create index request_unfinished on request (id) where state in ('asked', 'waiting', 'recalling', 'ready');

create table request_part (
    request    text        not null references request (id),
    package    text        not null references package (id),
    state      text        not null check (state in ('waiting', 'recalling', 'delivered', 'failed', 'cancelled')),
    attempt    integer     not null default 0,
    files      bigint      not null default 0,
    bytes      bigint      not null default 0,
    done_files bigint      not null default 0,
    done_bytes bigint      not null default 0,
    problem    jsonb,
    next_try   timestamptz not null default now(),
    ended_at   timestamptz,                          -- null also when it was cancelled
    primary key (request, package)
);
-- recalls: what everybody had in the last day.
create index request_part_ended on request_part (ended_at) where ended_at is not null;

create table request_problem (
    request  text  not null references request (id),
    path     bytea not null,
    code     text  not null,
    sentence text  not null,
    primary key (request, path)
);

-- Removing the source: plan -> print -> apply.
create table release (
    id         text        primary key,
    site       text        not null,
    dataset    text        not null references dataset (id),
    person     text        not null,
    state      text        not null check (state in ('asked', 'planned', 'applying', 'done', 'failed')),
    apply      boolean     not null,
    attempt    integer     not null default 0,
    files      bigint      not null default 0,       -- identical to what is archived
    bytes      bigint      not null default 0,
    kept       bigint      not null default 0,       -- present, but not identical or not archived
    removed    bigint      not null default 0,
    differing  jsonb       not null default '[]',    -- the first of those kept: path and reason
    evidence   jsonb,
    created_at timestamptz not null default now(),
    ended_at   timestamptz,
    problem    jsonb
);
create index release_unfinished on release (id) where state in ('asked', 'planned', 'applying');

create table reservation (
    id         text        primary key,
    area       text        not null,                 -- server and file system
    bytes      bigint      not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz not null
);
create index reservation_area on reservation (area);

-- P4: read in the order (xid, id) and only below the oldest transaction in flight, so that nothing is skipped.
create table event (
    xid     xid8        not null default pg_current_xact_id(),
    id      bigint      generated always as identity,
    site    text        not null,
    at      timestamptz not null default clock_timestamp(),
    kind    text        not null,
    dataset text,
    person  text,
    body    jsonb       not null default '{}',
    primary key (xid, id)
);
create index event_dataset on event (dataset, id);

-- P11: the answer given to a repeated call.
create table idempotency (
    person     text        not null,
    key        text        not null,
    request    text        not null,                 -- digest of method, path and body
    ident      text        not null,                 -- what the call makes, chosen before it is made
    body       jsonb,                                -- null: the call did not end
    created_at timestamptz not null default now(),
    primary key (person, key)
);

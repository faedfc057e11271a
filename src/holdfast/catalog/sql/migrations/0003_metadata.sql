-- Metadata and search. What a dataset has stands in dataset.metadata, in canonical form (model/metadata.py); what it is
-- found by stands in `search`, made again from that whenever it is stale.

alter table dataset
    add column metadata_version integer not null default 0,
    add column metadata_digest text;                 -- SHA-256 of the canonical form; null: as the media had it

-- P1: metadata may change, and every change is kept.
create table metadata_change (
    dataset     text        not null references dataset (id),
    version     integer     not null,
    key         text        not null,
    at          timestamptz not null default now(),
    person      text        not null,
    old         jsonb,                               -- null: the key was not there
    new         jsonb,                               -- null: the key was removed
    primary key (dataset, version, key)
);

create table search (
    id          bigint      generated always as identity primary key,
    dataset     text        not null unique references dataset (id),
    at          timestamptz not null,                -- dataset.created_at
    stale       boolean     not null default true,
    visible_to  text[]      not null,                -- dataset.visible_to, so that one index answers both (P8)
    terms       bigint[]    not null default '{}',
    texts       jsonb       not null default '{}',   -- key -> text, its first characters
    numbers     jsonb       not null default '{}'    -- "DIMENSION KEY" -> number in the base unit
);
alter table search alter column terms set statistics 1000;
create index search_newest on search (at desc, id desc);
create index search_terms on search using gin (terms, visible_to) with (fastupdate = off);
create index search_stale on search (id) where stale;

-- Numbers and dates again, in order.
create table number (
    key         bigint           not null,           -- the term of "DIMENSION KEY"
    value       double precision not null,
    search      bigint           not null references search (id) on delete cascade,
    primary key (key, value, search)
);
create index number_search on number (search);

-- Every text and every word that is or was there: what begins so is looked up here. Only counts of what a person may see
-- ever leave it.
create table spelling (
    key         text        collate "C" not null,    -- '': a word
    text        text        collate "C" not null,
    term        bigint      not null,
    primary key (key, text)
);

create table saved_search (
    person      text        not null,
    name        text        not null,
    query       text        not null,
    sort        text        not null default '',
    created_at  timestamptz not null default now(),
    primary key (person, name)
);

create function dataset_is_found() returns trigger language plpgsql set search_path = pg_catalog, public as $$
begin
    if new.state = 'deleted' then
        delete from search where dataset = new.id;
    elsif tg_op = 'INSERT' then
        insert into search (dataset, at, visible_to) values (new.id, new.created_at, new.visible_to);
    else
        update search set stale = true, visible_to = new.visible_to
        where dataset = new.id and (not stale or visible_to <> new.visible_to);
    end if;
    return null;
end $$;
create trigger dataset_search after insert or update of title, owner, "group", profile, metadata, files, bytes, closed_at,
    visible_to, state on dataset for each row execute function dataset_is_found();

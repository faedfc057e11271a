-- Share links: whoever has one may read a dataset, or what is at and below a path of it.
create table link (
    id          text        primary key,
    dataset     text        not null references dataset (id),
    path        bytea       not null default '',     -- empty: the whole dataset
    digest      bytea       not null unique,         -- SHA-256 of its secret
    password    text,                                -- Argon2
    label       text        not null default '',
    created_by  text        not null,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz not null,
    revoked_at  timestamptz,
    most        integer     check (most > 0),        -- downloads; null: any number
    downloads   integer     not null default 0,
    failures    integer     not null default 0,      -- wrong passwords in a row
    failed_at   timestamptz
);
create index link_dataset on link (dataset, created_at);

create table link_use (
    id          bigint      generated always as identity primary key,
    link        text        not null references link (id),
    at          timestamptz not null default now(),
    address     text        not null,
    what        bytea       not null                 -- the path that was downloaded; empty: all
);
create index link_use_link on link_use (link, at);

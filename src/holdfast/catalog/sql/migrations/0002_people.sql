-- Persons, groups and rights. Names are kept in datasets and events without a reference: they outlive accounts, and come
-- back from the media when a catalogue is rebuilt.

create table person (
    name        text        primary key,             -- short, as people write it: marie.curie
    site        text        not null,
    title       text        not null default '',     -- Dr Marie Curie
    mail        text        not null default '',
    role        text        not null check (role in ('admin', 'operator', 'member')),
    state       text        not null check (state in ('applied', 'active', 'disabled')),
    reason      text        not null default '',     -- of an application, or why disabled
    created_at  timestamptz not null default now(),
    decided_by  text,
    decided_at  timestamptz
);

-- How a person is recognised; several lead to one person.
create table credential (
    id          bigint      generated always as identity primary key,
    person      text        not null references person (name),
    kind        text        not null check (kind in ('local', 'oidc', 'ldap', 'x509', 'jwt')),
    issuer      text        not null,
    subject     text        not null,
    secret      text,                                -- local: Argon2
    once_until  timestamptz,                         -- an operator gave it: good once, to choose another, until then
    created_at  timestamptz not null default now(),
    used_at     timestamptz,
    unique (kind, issuer, subject),
    check ((kind = 'local') = (secret is not null))
);
create index credential_person on credential (person);

-- What a person shows with each call. Only the digest is kept.
create table token (
    id          text        primary key,
    person      text        not null references person (name),
    kind        text        not null check (kind in ('folder', 'login', 'token', 'session')),  -- of the data folder; of a browser
    digest      bytea       not null unique,         -- SHA-256
    made_with   text        references token (id),   -- the one that was shown to make it: they are revoked together
    label       text        not null default '',
    scopes      text[]      not null,
    created_at  timestamptz not null default now(),
    expires_at  timestamptz,                         -- null: the token of the data folder
    revoked_at  timestamptz,
    used_at     timestamptz,
    used_from   text
);
create index token_person on token (person);
create index token_made_with on token (made_with);

-- How often somebody tried lately: all web processes count together. Names and addresses are kept as digests only, for
-- people also type their passwords where the name belongs.
create table attempt (
    what        text        not null check (what in ('login', 'application', 'sign-in')),
    who         bytea       not null,
    began_at    timestamptz not null default now(),
    count       integer     not null,                -- of those that were let try
    refused     integer     not null default 0,      -- since the last one that was
    primary key (what, who)
);

-- Persons who have roles together; a proposal is one that a user office knows.
create table "group" (
    name        text        primary key,
    site        text        not null,
    kind        text        not null check (kind in ('group', 'proposal')),
    title       text        not null default '',
    folder      text        not null default '',     -- of the server: its writers may archive from it, its members have files brought to it
    created_at  timestamptz not null default now(),
    created_by  text        not null
);
create unique index group_folder on "group" (folder) where folder <> '';

create table membership (
    "group"     text        not null references "group" (name),
    person      text        not null references person (name),
    role        text        not null check (role in ('owner', 'manager', 'writer', 'reader')),
    origin      text        not null check (origin in ('hand', 'office') or origin ~ '^(oidc|ldap):'),  -- who keeps it up to date
    from_at     timestamptz not null default '-infinity',
    until_at    timestamptz not null default 'infinity',
    primary key ("group", person, origin),           -- each keeps up to date what is its own; the highest role counts
    check (from_at < until_at)
);
create index membership_person on membership (person);

-- A role to one dataset: of a person, of all members of a group, or (to read) of everybody.
create table "grant" (
    id          bigint      generated always as identity primary key,
    dataset     text        not null references dataset (id),
    person      text,
    "group"     text,
    audience    text        check (audience in ('members', 'everyone')),
    role        text        not null check (role in ('owner', 'manager', 'writer', 'reader')),
    granted_by  text        not null,
    created_at  timestamptz not null default now(),
    check (num_nonnulls(person, "group", audience) = 1),
    check (audience is null or role = 'reader')
);
create unique index grant_person on "grant" (dataset, person) where person is not null;
create unique index grant_group on "grant" (dataset, "group") where "group" is not null;
create unique index grant_audience on "grant" (dataset, audience) where audience is not null;

alter table dataset
    add column "group" text,                         -- its members have their roles to it
    add column visible_to text[] not null default '{}';  -- who may see it: p:PERSON, g:GROUP, members, everyone (P8)
create index dataset_visible on dataset using gin (visible_to);
create index dataset_group on dataset ("group") where "group" is not null;

create function visible_to(dataset, text) returns text[] language sql stable as $$
    select array(
        select 'p:' || $1.owner
        union select 'g:' || $1."group" where $1."group" is not null
        union select coalesce('p:' || person, 'g:' || "group", audience) from "grant" where dataset = $2
        order by 1)
$$;

create function dataset_becomes_visible() returns trigger language plpgsql as $$
begin
    new.visible_to := visible_to(new, new.id);
    return new;
end $$;
create trigger dataset_visible before insert or update of owner, "group" on dataset
    for each row execute function dataset_becomes_visible();

create function grant_changes_visible() returns trigger language plpgsql as $$
begin
    update dataset set visible_to = visible_to(dataset, id) where id = coalesce(new.dataset, old.dataset);
    return null;
end $$;
create trigger grant_visible after insert or update or delete on "grant"
    for each row execute function grant_changes_visible();

-- Signing in at a provider, while somebody is there.
create table sign_in (
    digest      bytea       primary key,             -- SHA-256 of what the browser, or the program, has
    device_code text,                                -- on another device
    pause       double precision not null,           -- seconds between two questions whether somebody signed in there
    asked_at    timestamptz,
    nonce       text        not null default '',
    verifier    text        not null default '',
    next        text        not null default '',     -- where to go then, within the archive
    began_at    timestamptz not null default now()
);

-- What is told of a dataset, as JSON of the wire where it has parts: to take rows apart in the program and put them together
-- there would cost more than to find them. What a query does not name is not made.

create view told as
select id, title, owner, "group", state, profile, profile_version, server, encode(source, 'hex') as source, landing,
    close_wanted is not null and state in ('open', 'closing') as closing, extends, files, bytes, dataset.created_at,
    closed_at, safe_at, deleted_at, source_released_at, tombstone, problem, extraction_problem, metadata,
    (profile.body ->> 'copies')::int as wanted,
    -- In a list: without the values that are longer than 1,000 characters.
    case when length(metadata::text) <= 1000 then metadata else (
        select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(metadata) where length(value #>> '{}') <= 1000
    ) end as brief,
    -- Of each package that counts, the state and the tape of each copy.
    (select coalesce(json_agg((
            select coalesce(json_agg(json_build_array(copy.state, copy.tape)), '[]') from copy
            where copy.package = package.id)), '[]')
        from package where package.dataset = dataset.id and package.state <> 'retired') as facts,
    (select coalesce(json_agg(json_build_object(
            'id', id, 'segment', segment, 'state', state, 'packaging', packaging, 'name', name, 'files', files,
            'payload', payload, 'packed_files', packed_files, 'packed_bytes', packed_bytes, 'size', size, 'blake3', digest,
            'problem', problem, 'copies', (
                select coalesce(json_agg(json_build_object(
                    'id', copy.id, 'number', number, 'state', copy.state, 'tape', tape, 'size', copy.size, 'moved', moved,
                    'blake3', copy.digest, 'start_block', start_block, 'generation', generation, 'drive', drive,
                    'rate', rate, 'written_at', written_at, 'verified_at', verified_at, 'problem', copy.problem)
                    order by number, copy.id), '[]')
                from copy where copy.package = package.id)) order by segment), '[]')
        from package where package.dataset = dataset.id) as packages
from dataset join profile on profile.name = dataset.profile and profile.version = dataset.profile_version;

-- One dataset with all of it.
create view whole as
select id, (
    select row_to_json(one) from (
        select told.id, title, owner, "group", state, profile, profile_version, server, source, landing, closing, extends, files,
            bytes, created_at, closed_at, safe_at, deleted_at, source_released_at, tombstone, problem, extraction_problem, wanted,
            metadata, packages) as one)::text as told
from told;

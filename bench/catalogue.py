# SPDX-License-Identifier: Apache-2.0
"""The catalogue: how long registering takes beside packing, how fast a path or a folder is found, bytes per file.

    .venv/bin/python bench/catalogue.py [--files 150000] [--archived 10000000] [--rounds 5] [--folder DIR]

Registering is compared with packing the same files in the same run. The archived files are made up: datasets of
100,000 files in folders of 200, with random checksums, as no compressor can shrink real ones.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from psycopg.types.json import Jsonb

from holdfast.app import open_archive, set_up
from holdfast.catalog import listings
from holdfast.catalog.database import Database
from holdfast.catalog.embedded import EmbeddedPostgres
from holdfast.catalog.queries import datasets
from holdfast.model.entry import Entry, Location, Packed
from holdfast.model.ids import new_id
from holdfast.model.rights import Person
from holdfast.services.archive import Archive
from holdfast.services.deposit import Wish
from holdfast.services.pack import pack
from holdfast.services.register import register, survey
from holdfast.settings.reading import load

PER_DATASET = 100_000  # files
PER_FOLDER = 200  # files
QUERIES = 200  # per shape


def main() -> None:
    """Run both parts and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--files", type=int, default=150_000)
    parser.add_argument("--archived", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=None)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=wanted.folder, prefix="holdfast-bench-") as name:
        folder = Path(name)
        source = folder / "source"
        settings = load(folder / "data", overrides={"roots.source": [str(source)], "library.capacity": "40 GB"})
        server = EmbeddedPostgres(settings.database_folder)
        dsn = server.start()
        try:
            set_up(settings, dsn)
            with open_archive(settings, dsn=dsn) as archive:
                _registering(archive, source, wanted.files, wanted.rounds)
                _finding(archive, wanted.archived)
        finally:
            server.stop()


def _registering(archive: Archive, source: Path, files: int, rounds: int) -> None:
    print(f"registering and packing {files} files of 4 kB, {rounds} rounds")
    _make_files(source, files)
    registering, packing = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        ident = register(archive, Wish("bench"), person=Person("bench", "operator"), path=str(source))
        survey(archive, ident)
        registering.append(time.perf_counter() - begun)
        rows = archive.database.rows("select id from package where dataset = %(id)s order by segment", {"id": ident})
        begun = time.perf_counter()
        for row in rows:
            pack(archive, row["id"])
        packing.append(time.perf_counter() - begun)
        _forget(archive, ident)
    share = statistics.median(a / b for a, b in zip(registering, packing, strict=True))
    print("\n| | median s | min | max |\n|---|---|---|---|")
    for name, times in (("register", registering), ("pack", packing)):
        print(f"| {name} | {statistics.median(times):.2f} | {min(times):.2f} | {max(times):.2f} |")
    print(f"\nregister / pack: {share:.1%} (target: under 10 %)\n")


def _make_files(source: Path, files: int) -> None:
    chance = random.Random(1)
    for number in range(files):
        folder = source / f"run{number // 10_000:03}" / f"scan{number // PER_FOLDER:05}"
        if number % PER_FOLDER == 0:
            folder.mkdir(parents=True)
        (folder / f"frame_{number:07}.dat").write_bytes(chance.randbytes(4096))


def _forget(archive: Archive, ident: str) -> None:
    """Let the same folder be registered again."""
    with archive.database.transaction() as conn:
        conn.execute("update dataset set state = 'deleted' where id = %s", [ident])
        conn.execute("delete from listing where dataset = %s", [ident])
    for file in archive.settings.staging_path.iterdir():
        file.unlink()


def _finding(archive: Archive, archived: int) -> None:
    count = max(archived // PER_DATASET, 1)
    print(f"finding among {count * PER_DATASET} archived files in {count} datasets")
    begun = time.perf_counter()
    idents = [_dataset(archive.database, number) for number in range(count)]
    print(f"(made in {time.perf_counter() - begun:.0f} s)")
    archive.database.rows("select 1 as one")
    with archive.database.transaction() as conn:
        conn.execute("analyze listing")
    chance = random.Random(2)

    def somewhere() -> tuple[int, str, int]:
        number = chance.randrange(count)
        return number, idents[number], chance.randrange(PER_DATASET)

    def path() -> None:
        number, ident, file = somewhere()
        with archive.database.transaction() as conn:
            assert listings.find_path(conn, ident, _path(number, file))  # noqa: S101

    def folder() -> None:
        number, ident, file = somewhere()
        with archive.database.transaction() as conn:
            found = listings.children(conn, ident, _path(number, file).rpartition(b"/")[0])
        assert len(found) == PER_FOLDER  # noqa: S101

    def top() -> None:
        _, ident, _ = somewhere()
        with archive.database.transaction() as conn:
            assert listings.children(conn, ident, b"")  # noqa: S101

    def name() -> None:
        number, _, file = somewhere()
        with archive.database.transaction() as conn:
            assert listings.find_name(conn, _path(number, file).rpartition(b"/")[2])  # noqa: S101

    print("\n| query | median ms | p95 ms | target |\n|---|---|---|---|")
    for what, work in (
        ("one path of a dataset", path),
        ("a folder of 200 files", folder),
        ("the top folder of a dataset", top),
        ("a file name in all datasets", name),
    ):
        middle, high = _time(work)
        print(f"| {what} | {middle:.2f} | {high:.2f} | 20 |")
    row = archive.database.rows(
        "select pg_total_relation_size('listing') as whole, pg_table_size('listing') as rows, "
        "pg_relation_size('listing_names') as names"
    )[0]
    files = count * PER_DATASET
    print(
        f"\nbytes of catalogue per file: {row['whole'] / files:.1f} "
        f"(blocks {row['rows'] / files:.1f}, of which SHA-512 64; index of names {row['names'] / files:.1f})"
    )


def _time(work: Callable[[], None]) -> tuple[float, float]:
    work()
    times = []
    for _ in range(QUERIES):
        begun = time.perf_counter()
        work()
        times.append((time.perf_counter() - begun) * 1000)
    times.sort()
    return statistics.median(times), times[int(len(times) * 0.95)]


def _path(number: int, file: int) -> bytes:
    return f"run{file // 10_000:03}/scan{file // PER_FOLDER:05}/d{number:04}_frame_{file:07}.h5".encode()


def _entries(number: int) -> Iterator[Packed]:
    size = 4 << 20
    for file in range(PER_DATASET):
        entry = Entry(
            _path(number, file), "file", size, 1_790_000_000_000_000_000 + file * 1_234_567, 0o644, 1000, 1000
        )
        yield Packed(entry, Location(file * 3_900_000, 512, os.urandom(64)))


def _dataset(database: Database, number: int) -> str:
    ident = new_id()
    with database.transaction() as conn:
        datasets.run(
            conn,
            "insert",
            id=ident,
            site="bench",
            title=f"bench {number}",
            owner="bench",
            profile="twin-tape",
            profile_version=1,
            server="bench",
            source=f"/bench/{number}".encode(),
            metadata=Jsonb({}),
        )
        listings.write(conn, ident, 1, _entries(number), packed=True)
    return ident


if __name__ == "__main__":
    main()

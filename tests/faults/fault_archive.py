# SPDX-License-Identifier: Apache-2.0
"""Faults under a whole archive: people archive, get back and move data while tapes and disks go wrong.

After each life of an archive the invariants of tape simulators are checked, and the promises that people rely on: what
was said to be safe is there unless more than one fault hit its copies, and then it is said to be lost.
"""

from __future__ import annotations

import random
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import Final

from blake3 import blake3
from lives import lives

from holdfast.errors import HoldfastError
from holdfast.model.names import sidecar_name
from holdfast.services import check, drives, repack, show, tapes
from holdfast.tape.faults import KINDS, Fault, read_faults, restart_server, write_faults
from holdfast.tape.index import TAPE_BLOCK, load_index
from holdfast.tape.library import is_out
from holdfast.tape.volume import index_path
from holdfast.testing.site import SmallSite, small_site
from holdfast.wire.datasets import Package

_ROUNDS: Final = 4
_LIVE: Final = sorted(KINDS - {"hangs", "slow-drive", "no-health", "bar-code", "wrong-tape"})


def run(seed: int, wanted: int, folder: Path, dsn: str) -> tuple[Counter[str], list[str]]:
    """Live until `wanted` faults have happened; return what happened, and every promise that was broken."""
    return lives(seed, wanted, folder, lambda chance, home, done: _live(chance, home, dsn, done))


def _live(chance: random.Random, home: Path, dsn: str, done: Counter[str]) -> None:
    with small_site(
        home, dsn, library__tapes=16, library__capacity=4_000_000, library__reserve=100_000, write__linger=0
    ) as site:
        one = Life(site, chance, done)
        try:
            one.live()
            one.check()
        finally:
            _forget(site)


def _forget(site: SmallSite) -> None:
    site.rows("select setseed(0)")
    tables = [row["t"] for row in site.rows("select tablename as t from pg_tables where schemaname = 'public'")]
    kept = {"profile", "procrastinate_version", "schema_version", "migration"}
    names = ", ".join(f'"{name}"' for name in tables if name not in kept)
    with site.archive.database.transaction() as conn:
        conn.execute(f"truncate {names} restart identity cascade")  # type: ignore[arg-type]


class Life:
    """One archive, what was put into it, and what was done to it."""

    def __init__(self, site: SmallSite, chance: random.Random, done: Counter[str]) -> None:
        self.site = site
        self.chance = chance
        self.done = done
        self.files: dict[str, dict[str, bytes]] = {}  # dataset: what it must give back
        self.requests: dict[str, tuple[str, Path]] = {}
        self.hurt: Counter[str] = Counter()  # what damage was done to a file on a tape, or to a whole tape
        self.armed: tuple[Fault, ...] = ()

    def live(self) -> None:
        for number in range(_ROUNDS):
            for name in range(self.chance.randint(1, 4)):
                self._archive(f"{number}-{name}")
            self._arm()
            self._want()
            self._work()
            self._count()
            self._rot()
            for drive in self.site.archive.library.drives_out():  # somebody mends what was blamed
                drives.enable(self.site.archive, drive, person="op")
        # The bad days are over. All is read once more.
        self._work()
        for dataset in self.files:
            with suppress(HoldfastError):
                check.want_check(self.site.archive, dataset, person="auditor")
        self._work()

    # ---- doing ----

    def _archive(self, name: str) -> None:
        files = {
            f"{n}": self.chance.randbytes(self.chance.choice((0, 1, 900, 20_000)))
            for n in range(self.chance.randint(1, 3))
        }
        profile = self.chance.choice(("twin-tape", "twin-tape", "plain-twin-tape"))
        self.files[self.site.archive_folder(files, name=name, profile=profile)] = files

    def _arm(self) -> None:
        used = [tape.serial for tape in tapes.tape_list(self.site.archive) if tape.state in {"active", "full"}]
        self.armed = tuple(
            Fault(
                self.chance.choice(used[:4]), self.chance.choice(_LIVE), after_bytes=self.chance.randrange(150_000),  # type: ignore[arg-type]
                offset=self.chance.randrange(500), at_op=self.chance.randrange(3), times=self.chance.choice((1, 1, 2, 6)),
                lock_state=self.chance.choice((0x60, 0xE0)), stuck=1,
            )
            for _ in range(self.chance.randint(1, 8) if used else 0)
        )  # fmt: skip
        for fault in self.armed:
            self.hurt[fault.serial] += 1
        write_faults(self.site.library, self.armed)
        if self.chance.random() < 0.1:
            restart_server(self.site.library)
            self.done["server restart"] += 1

    def _want(self) -> None:
        """Ask for things that people and operators ask for."""
        safe = [row["id"] for row in self.site.rows("select id from dataset where safe_at is not null")]
        for dataset in self.chance.sample(safe, min(len(safe), 2)):
            request = self.site.ask(dataset, to=f"back-{len(self.requests)}")
            self.requests[request] = dataset, self.site.destinations / f"back-{len(self.requests)}"
        if safe and self.chance.random() < 0.3:
            check.want_check(self.site.archive, self.chance.choice(safe), person="auditor")
        held = [tape for tape in tapes.tape_list(self.site.archive) if tape.copies]
        if held and self.chance.random() < 0.2:
            with suppress(HoldfastError):
                repack.repack(self.site.archive, [self.chance.choice(held).serial], person="op", apply=True)
        if held and self.chance.random() < 0.1:
            with suppress(HoldfastError):
                tapes.enable(self.site.archive, self.chance.choice(held).serial, person="op")

    def _work(self) -> None:
        """Do all that is owed."""
        with suppress(AssertionError):  # what cannot end while a fault lasts ends later, or the checks find it
            self.site.drain()

    def _count(self) -> None:
        """Count the faults that happened, and have no more of them."""
        for fault in self.armed:
            left = next(
                (f.times or 0 for f in read_faults(self.site.library)
                 if (f.serial, f.fault, f.after_bytes, f.offset) == (fault.serial, fault.fault, fault.after_bytes, fault.offset)), 0,
            )  # fmt: skip
            self.done[fault.fault] += (fault.times or 0) - left
        write_faults(self.site.library, [])

    def _rot(self) -> None:
        """Change bytes on tapes and in staging where nobody looks."""
        on_tapes = self.site.on_tapes()
        for name in self.chance.sample(on_tapes, min(len(on_tapes), self.chance.randint(2, 12))):
            path = self.site.library / name
            content = bytearray(path.read_bytes())
            if content:
                content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
                path.write_bytes(content)
                self.hurt[name] += 1
                self.done["bit rot"] += 1

    # ---- what must hold ----

    def check(self) -> None:
        self._tapes_are_sound()
        lost = {event.body["package"] for event in self.site.events("package.lost")}
        for dataset in self.files:
            self._dataset(dataset, lost)
        self._requests()
        assert self.site.rows("select id from reservation") == [], "reservations are left"
        loaded = [tape for tape in self.site.archive.library.drives().values() if tape and not is_out(tape)]
        assert loaded == [], f"{loaded} are still in drives"

    def _tapes_are_sound(self) -> None:
        for tape in tapes.tape_list(self.site.archive):
            index = load_index(index_path(self.site.library, tape.serial))
            places = sorted((file.start_block, file.size) for file in index.files.values() if file.size)
            ends = [start + -(-size // TAPE_BLOCK) for start, size in places]
            starts = [start for start, _ in places[1:]]
            assert all(end <= start for end, start in zip(ends, starts, strict=False)), (
                f"extents cross on {tape.serial}"
            )

    def _dataset(self, dataset: str, lost: set[str]) -> None:
        shown = self.site.show(dataset)
        for package in shown.packages:
            good = {
                c.tape
                for c in package.copies
                if c.state == "verified" and c.tape and self._content(c.tape, package.name) == package.blake3
            }
            called = {copy.tape for copy in package.copies if copy.state == "verified"}
            assert called <= good, f"{package.id} is called proven on {called - good} and is not"
            if package.id in lost and not good:
                damaged = {c.tape for c in package.copies if c.tape and self._had_faults(c.tape, package.name)}
                assert len(damaged) > 1, f"{package.id} is lost, and only {damaged} had a fault"
                continue
            if len(good) == 1 and not self._usable() - good:
                reasons = {item.problem.code for item in shown.pending if item.problem}
                assert "no-tape" in reasons, f"{package.id} has one copy, no other tape is left, and nobody says so"
                continue
            assert len(good) >= 2, f"{package.id} of {shown.state} {dataset} has copies on {good} only: {shown.pending}"
            assert package.state == "released", f"{package.id} is {package.state}"

    def _usable(self) -> set[str]:
        return {tape.serial for tape in tapes.tape_list(self.site.archive) if tape.state == "active"}

    def _had_faults(self, serial: str, name: str) -> int:
        files = (name, sidecar_name(name))
        return self.hurt[serial] + sum(self.hurt[f"{serial}/{file}"] for file in files)

    def _content(self, serial: str, name: str) -> str | None:
        with suppress(OSError):
            return blake3((self.site.library / serial / name).read_bytes()).hexdigest()
        return None

    def _requests(self) -> None:
        for request, (dataset, target) in self.requests.items():
            asked = self.site.request(request)
            assert asked.state in {"delivered", "failed"}, f"request {request} hangs: {asked.problem}"
            found = (
                {str(p.relative_to(target)): p.read_bytes() for p in target.rglob("*") if p.is_file()}
                if target.is_dir()
                else {}
            )
            wanted = self.files[dataset]
            assert found.items() <= wanted.items(), f"request {request} delivered what was not archived"
            missing = wanted.keys() - found.keys()
            assert missing == {item.path for item in asked.undelivered}, (
                f"request {request} does not say what is missing"
            )
            for package in self._holding(dataset, missing):
                hurt = {c.tape for c in package.copies if c.tape and self._had_faults(c.tape, package.name)}
                assert len(hurt) > 1, f"request {request} lacks files of {package.id}, and only {hurt} had a fault"

    def _holding(self, dataset: str, paths: set[str]) -> list[Package]:
        """Return the packages that some files are in."""
        listed = show.files(self.site.archive, dataset, prefix=b"", after=b"", limit=1000)
        inside = {file.package for _, file in listed if file.path in paths}
        return [package for package in self.site.show(dataset).packages if package.id in inside]

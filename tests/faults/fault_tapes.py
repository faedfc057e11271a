# SPDX-License-Identifier: Apache-2.0
"""Faults of tapes and drives under twin writes: what was acknowledged is on both tapes, and reads never lie.

The code that writes twins, makes them durable and reads them back works on a simulated library that fails as the
seed says. What it called proven on both tapes must outlive any single fault after that; of a double one it must say so.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from blake3 import blake3
from lives import lives

from holdfast.errors import HoldfastError
from holdfast.services.twins import in_parallel, put_twins, read_back
from holdfast.tape.faults import KINDS, Fault, read_faults, restart_server, write_faults
from holdfast.tape.library import TapeSession
from holdfast.tape.simulator import SimulatedLibrary

TWINS: Final = ("HF0001L8", "HF0002L8")
CAPACITY: Final = 1_500_000  # bytes
# Faults that need a watchdog, or a clock, have their own tests.
_LIVE: Final = sorted(KINDS - {"hangs", "slow-drive", "no-health", "bar-code"})
_TRANSIENT: Final = 60  # read errors that the next try does not have, in one round


def run(seed: int, wanted: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Make faults until `wanted` have happened; return what happened, and every promise that was broken."""
    return lives(seed, wanted, folder, _try)


def _try(chance: random.Random, root: Path, done: Counter[str]) -> None:
    one = _Trial(chance, root, done)
    one.write()
    one.survive()


class _Trial:
    def __init__(self, chance: random.Random, root: Path, done: Counter[str]) -> None:
        self.chance = chance
        self.root = root
        self.library = SimulatedLibrary.create(root, tapes=2, capacity=CAPACITY, drives=2)
        self.done = done
        self.proven: dict[str, dict[str, dict[str, Any]]] = {serial: {} for serial in TWINS}  # serial: name: package
        self.armed: Sequence[Fault] = ()
        self.frozen: set[str] = set()

    def write(self) -> None:
        """Write packages in some sessions while things go wrong; note which are proven where."""
        for number in range(self.chance.randint(1, 3)):
            packages = [self._package(f"{number}-{n}.tar.zst") for n in range(self.chance.randint(1, 5))]
            self._arm([self._fault() for _ in range(self.chance.choice((0, 1, 1, 2, 3)))])
            written = self._written(packages)
            for serial in TWINS:
                self._prove(serial, [package for package, on in written if serial in on])
            self._count()

    def survive(self) -> None:
        """Damage what is proven, on one tape or on both, and read it."""
        self._arm([])
        names = sorted(self.proven[TWINS[0]].keys() & self.proven[TWINS[1]].keys())
        hurt = {name: self._hurt(name) for name in names}
        self._arm(
            Fault(
                serial, "read-error", offset=self.chance.randrange(1, 2000), name=name, times=self.chance.choice((1, 2))
            )
            for name in names[:_TRANSIENT]
            for serial in TWINS
        )  # a third try would succeed
        for serial in TWINS:
            good = self._read(serial, [self.proven[serial][name] for name in names])
            for name in names:
                assert (name in good) == (serial not in hurt[name]), f"{name} on {serial}, damaged on {hurt[name]}"
        self._count()

    def _hurt(self, name: str) -> set[str]:
        serials = {serial for serial in TWINS if self.chance.random() < 0.4}
        for serial in serials:
            path = self.root / serial / name
            content = bytearray(path.read_bytes())
            content[self.chance.randrange(len(content))] ^= 1 << self.chance.randrange(8)
            path.write_bytes(content)
            self.done["bit rot on both twins" if len(serials) > 1 else "bit rot"] += 1
        return serials

    def _package(self, name: str) -> dict[str, Any]:
        content = self.chance.randbytes(self.chance.choice((1, 700, 5000, 40_000, 120_000)))
        digest = blake3(content).hexdigest()
        return {"name": name, "size": len(content), "digest": digest, "sidecar": None, "content": content}

    def _fault(self) -> Fault:
        kind = self.chance.choice(_LIVE)
        return Fault(
            self.chance.choice(TWINS), kind, after_bytes=self.chance.randrange(CAPACITY // 5),  # type: ignore[arg-type]
            offset=self.chance.randrange(1000), at_op=self.chance.randrange(4), times=self.chance.choice((1, 2, 5)),
            lock_state=self.chance.choice((0x60, 0xE0)), stuck=1,
            name="HF0009" if kind == "wrong-tape" else "",
        )  # fmt: skip

    def _written(self, packages: Sequence[dict[str, Any]]) -> list[tuple[dict[str, Any], set[str]]]:
        """Return which packages were synced on which tapes."""
        synced: list[tuple[dict[str, Any], set[str]]] = []
        with suppress(HoldfastError), self.library.sessions(TWINS, "write", timeout=0) as sessions:
            alive = {session.serial: session for session in sessions}
            puts = []
            for package in packages:
                if not alive:
                    break
                found = put_twins(list(alive.values()), package, [package["content"]], lambda _: None)
                puts += [(package, put) for put in found]
                alive = {
                    s: session for s, session in alive.items() if not any(p.serial == s and p.error for p in found)
                }
                if self.chance.random() < 0.03:
                    restart_server(self.root)
                    self.done["server restart"] += 1
            errors = in_parallel(list(alive.values()), lambda session: session.sync("campaign") and None)
            good = {serial for serial, error in errors.items() if error is None}
            for package in packages:
                on = {put.serial for other, put in puts if other is package and not put.error and put.serial in good}
                synced.append((package, on))
        return synced

    def _prove(self, serial: str, packages: Sequence[dict[str, Any]]) -> None:
        for name in self._read(serial, packages):
            self.proven[serial][name] = next(package for package in packages if package["name"] == name)

    def _read(self, serial: str, packages: Sequence[dict[str, Any]]) -> set[str]:
        """Return which packages are read back whole after a new mount."""
        good: set[str] = set()

        def read(session: TapeSession) -> None:
            for package in packages:
                with suppress(HoldfastError):
                    read_back(session, package, lambda _: None)
                    good.add(package["name"])

        with suppress(HoldfastError), self.library.sessions([serial], "read", timeout=0) as (session,):
            read(session)
        return good

    def _arm(self, faults: Any) -> None:
        self.armed = tuple(faults)
        write_faults(self.root, self.armed)

    def _count(self) -> None:
        """Count the faults that happened, and have no more of them."""
        left = Counter(
            (fault.serial, fault.fault, fault.name, fault.offset)
            for fault in self.armed
            for _ in range(fault.times or 0)
        )
        still = Counter(
            (f.serial, f.fault, f.name, f.offset) for f in read_faults(self.root) for _ in range(f.times or 0)
        )
        for (_, kind, _, _), count in (left - still).items():
            self.done[kind] += count
        frozen = {serial for serial in TWINS if self.library.stat(serial).lock_state}
        self.done["write-error"] += len(frozen - self.frozen)
        self.frozen = frozen
        write_faults(self.root, [])

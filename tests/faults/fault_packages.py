# SPDX-License-Identifier: Apache-2.0
"""Damage to packages at rest: it is always noticed, and what is delivered all the same is right."""

from __future__ import annotations

import os
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Final

from holdfast.packaging.check import blake3_of
from holdfast.packaging.extract import extract
from holdfast.packaging.writer import PackOptions, Written
from holdfast.testing.packages import MemorySource, pack

_FRAME: Final = 2048  # bytes, so that a small package has several


def run(seed: int, wanted: int, folder: Path) -> tuple[Counter[str], list[str]]:
    """Damage a package in `wanted` ways; return what was done, and every promise that was broken."""
    chance = random.Random(seed)
    content, written, originals = _package(chance, folder)
    done: Counter[str] = Counter()
    broken: list[str] = []
    for number in range(wanted):
        kind = chance.choice(("flip", "flip", "byte", "cut", "zeros", "lost", "twice", "swapped"))
        changed = damage(chance, kind, content)
        if changed == content:
            continue
        done[kind] += 1
        if fault := _violation(changed, written, originals, folder):
            broken.append(f"packages, seed {seed}, fault {number} ({kind}): {fault}")
    return done, broken


def damage(chance: random.Random, kind: str, content: bytes) -> bytes:
    """Return the content as a fault of that kind leaves it."""
    at = chance.randrange(len(content))
    length = chance.randint(1, 3000)
    if kind == "flip":
        return content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :]
    if kind == "byte":
        return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
    if kind == "cut":
        return content[:at]
    if kind == "zeros":
        return content[:at] + bytes(len(content[at : at + length])) + content[at + length :]
    if kind == "lost":
        return content[:at] + content[at + length :]
    if kind == "twice":
        return content[: at + length] + content[at:]
    other = chance.randrange(len(content))
    first, second = sorted((at, other))
    return content[:first] + content[second : second + 512] + content[first + 512 :]


def _package(chance: random.Random, folder: Path) -> tuple[bytes, Written, dict[bytes, bytes]]:
    source = folder / "source"
    source.mkdir()
    for number in range(4):
        data = chance.randbytes(number * 397) if number % 2 else b"text %d " % number * number * 90
        (source / f"{number}").write_bytes(data)
        os.utime(source / f"{number}", (1, 1))
    written = pack(source, folder / "package", options=PackOptions(frame_size=_FRAME))
    originals = {os.fsencode(path.name): path.read_bytes() for path in source.iterdir()}
    return (folder / "package").read_bytes(), written, originals


def _violation(changed: bytes, written: Written, originals: dict[bytes, bytes], folder: Path) -> str | None:
    if blake3_of([changed]) == written.digest:
        return "the digest of the package is the same"
    problems: set[bytes] = set()
    with tempfile.TemporaryDirectory(dir=folder) as name:
        extract(
            MemorySource(changed), written.members, Path(name) / "out",
            on_done=lambda _: None, on_problem=lambda entry, _: problems.add(entry.path),
        )  # fmt: skip
        found = {os.fsencode(path.name): path.read_bytes() for path in (Path(name) / "out").iterdir()}
    if not found.items() <= originals.items():
        return "a file was delivered that is not what was archived"
    if found.keys() | problems != originals.keys():
        return "a file is neither delivered nor said to be missing"
    return None

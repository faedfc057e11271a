# SPDX-License-Identifier: Apache-2.0
"""Made-up data for the packing benches: three shapes of a dataset, three kinds of content."""

from __future__ import annotations

import argparse
import math
import os
import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from holdfast.packaging.writer import Written, write_package
from holdfast.services.scan import scan
from holdfast.testing.packages import DOCUMENTS, sample_identity

SHAPES = {"large": (40, 50_000_000), "medium": (2_000, 1_000_000), "tiny": (50_000, 4_000)}  # files, bytes of each
CONTENTS = ("incompressible", "detector", "fits")
_SKY, _SKY_NOISE, _COUNTS = 1000.0, 12.0, 20.0


@dataclass(frozen=True, slots=True)
class Shape:
    """A folder to pack."""

    name: str
    files: int
    size: int

    def build(self, folder: Path, content: str) -> None:
        """Write the files; each is different."""
        shutil.rmtree(folder, ignore_errors=True)
        for number in range(self.files):
            path = folder / f"run-{number // 1000:04}" / f"image-{number:06}.raw"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(block(content, self.size))


def shape(name: str, scale: float) -> Shape:
    """Return a shape with `scale` times its number of files."""
    files, size = SHAPES[name]
    return Shape(name, max(round(files * scale), 2), size)


def block(content: str, size: int) -> bytes:
    """Return `size` bytes of fresh content."""
    if content == "incompressible":
        return os.urandom(size)
    return _detector(size) if content == "detector" else _fits(size)


def _detector(size: int) -> bytes:
    """Return int32 little-endian counts with a Poisson distribution: each random byte picks a quantile."""
    image = bytearray(size)
    image[0::4] = os.urandom(len(image[0::4])).translate(_POISSON)
    return bytes(image)


def _fits(size: int) -> bytes:
    """Return a FITS file: header block, int16 big-endian sky with Gaussian noise, some stars."""
    cards = (
        "SIMPLE  =                    T",
        "BITPIX  =                   16",
        "NAXIS   =                    1",
        "END",
    )
    header = "".join(card.ljust(80) for card in cards).ljust(2880).encode("ascii")[:size]
    noise = os.urandom((size - len(header)) // 2)
    image = bytearray(2 * len(noise))
    image[0::2], image[1::2] = noise.translate(_HIGH), noise.translate(_LOW)
    for _ in range(len(image) // 20_000):
        at = 2 * random.randrange(max(len(noise) - 16, 1))
        star = bytearray(os.urandom(32))
        star[0::2] = bytes(byte & 0x7F for byte in star[0::2])
        image[at : at + 32] = star[: len(image) - at]
    return (header + bytes(image)).ljust(size, b"\0")


def _poisson_table(mean: float) -> bytes:
    table = bytearray()
    value, term = 0, math.exp(-mean)
    total = term
    for quantile in range(256):
        while total < (quantile + 0.5) / 256:
            value += 1
            term *= mean / value
            total += term
        table.append(value)
    return bytes(table)


def _gauss_values() -> list[int]:
    draw = random.Random(1)
    ordered = sorted(draw.gauss(_SKY, _SKY_NOISE) for _ in range(256 * 64))
    return [round(ordered[64 * quantile + 32]) for quantile in range(256)]


_POISSON = _poisson_table(_COUNTS)
_HIGH = bytes(value >> 8 for value in _gauss_values())
_LOW = bytes(value & 0xFF for value in _gauss_values())


def pack(source: Path, *sinks: Path) -> Written:
    """Register the files of a folder as the archive does, and pack them."""
    entries = list(scan(os.fsencode(source)))
    return write_package(sample_identity(entries), entries, root=source, documents=DOCUMENTS, sinks=sinks)


def options(purpose: str | None, *, shapes: Sequence[str] = tuple(SHAPES)) -> argparse.ArgumentParser:
    """Return the options that all programs about packages have; `shapes` are those that are run unless told."""
    parser = argparse.ArgumentParser(description=purpose, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="part of the full number of files")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=SHAPES, action="append", help=f"default: {', '.join(shapes)}")
    parser.add_argument("--content", choices=CONTENTS, action="append", help="default: all")
    parser.add_argument("--work", type=Path, help="folder for data and results (default: a temporary one)")
    return parser

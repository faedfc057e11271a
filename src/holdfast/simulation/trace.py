# SPDX-License-Identifier: Apache-2.0
"""What is asked of the library, and when: made up from a seed, or read from a CSV file, one row at a time.

The shape of the made-up recalls: 60 % come in bursts (restores of datasets that lie side by side, 40 files in the mean),
40 % alone; popularity of tapes falls as Zipf 0.7; sizes are log-normal, median 0.4 GB, mean 1.7 GB. It is invented;
replace it by your own restore log as soon as you have one.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Final

import numpy as np

from holdfast.errors import InvalidInput

_BURST_SHARE: Final = 0.6
_BURST_FILES: Final = 40.0
_SKIPPED: Final = 0.7  # of the files in a burst are followed by one that is not wanted
_ZIPF: Final = 0.7
_MEDIAN: Final = 0.4e9  # bytes
_SIGMA: Final = 1.70  # of log size; mean 1.7 GB with this median
_BIGGEST: Final = 500e9  # bytes; cuts the tail of the log-normal


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a trace: a recall of a package, or bytes to be written."""

    at: float  # seconds
    kind: str  # recall or write
    package: str
    size: int  # bytes
    group: str = ""
    tape: str = ""  # recall: where its first copy is; empty if the trace wrote it before
    start: int = 0  # recall: bytes from the start of the data partition


COLUMNS: Final = tuple(field.name for field in fields(Row))


def sizes(chance: np.random.Generator, count: int) -> list[int]:
    """Return made-up sizes of files in bytes."""
    drawn = chance.lognormal(math.log(_MEDIAN), _SIGMA, count)
    return [int(size) for size in np.clip(drawn, 1e6, _BIGGEST)]


def recalls(
    tapes: Sequence[tuple[str, float]], *, count: int, hours: float, seed: int, groups: int = 1
) -> Iterator[Row]:
    """Yield `count` recalls over `hours`, in order of time; `tapes` are serials with their filled bytes."""
    chance = np.random.default_rng(seed)
    order = chance.permutation(len(tapes))
    popularity = np.arange(1, len(tapes) + 1) ** -_ZIPF
    chosen = order[
        np.searchsorted(np.cumsum(popularity / popularity.sum()), chance.random(count)).clip(0, len(order) - 1)
    ]
    single = int(count * (1 - _BURST_SHARE))
    lengths = [1] * single
    while sum(lengths) < count:
        lengths.append(min(1 + int(chance.exponential(_BURST_FILES - 1)), count - sum(lengths)))
    moments = np.sort(chance.uniform(0, hours * 3600, len(lengths)))
    shuffled = [lengths[index] for index in chance.permutation(len(lengths))]
    for restore, (at, length) in enumerate(zip(moments, shuffled, strict=True)):
        serial, filled = tapes[int(chosen[restore])]
        wanted, between = sizes(chance, length), sizes(chance, length)
        gaps = [gap if skip else 0 for gap, skip in zip(between, chance.random(length) < _SKIPPED, strict=True)]
        start = int(chance.uniform(0, max(filled - sum(wanted) - sum(gaps), 1)))
        group = f"group-{int(chance.integers(groups))}"
        for size, gap in zip(wanted, gaps, strict=True):
            yield Row(float(at), "recall", f"{serial}-{start}", size, group, serial, start)
            start += size + gap


def decades(*, datasets: int, years: float, recalled: float, seed: int, groups: int = 30) -> Iterator[Row]:
    """Yield ten years, or any, of writing `datasets` and recalling the share `recalled` of them later, in time order.

    A restore takes up to 40 datasets that were written one after the other; recent ones are wanted more often.
    """
    chance = np.random.default_rng(seed)
    step = years * 365.25 * 86_400 / datasets
    per_dataset = recalled / _BURST_FILES
    for number in range(datasets):
        at = number * step
        # Investigations write in turn: a group writes some hundred datasets before the next has its beamtime.
        yield Row(at, "write", f"d{number}", sizes(chance, 1)[0], f"group-{number // 800 % groups}")
        if chance.random() < per_dataset and number > _BURST_FILES:
            age = int(chance.exponential(datasets / 5))
            first = max(number - 1 - age, 0)
            for one in range(first, min(first + 1 + int(chance.exponential(_BURST_FILES - 1)), number)):
                yield Row(at, "recall", f"d{one}", 0, f"group-{one // 800 % groups}")


def burst(*, rate: float, hours: float, segment: int) -> Iterator[Row]:
    """Yield what a detector sends: `rate` bytes per second for `hours`, in pieces of one segment (bytes)."""
    for number in range(int(rate * hours * 3600 / segment)):
        yield Row((number + 1) * segment / rate, "write", f"burst-{number}", segment, "burst")


def write_csv(path: Path, rows: Iterable[Row]) -> int:
    """Write a trace; return the number of rows."""
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for row in rows:
            writer.writerow([f"{row.at:.3f}", row.kind, row.package, row.size, row.group, row.tape, row.start])
            count += 1
    return count


def read_csv(path: Path) -> Iterator[Row]:
    """Yield the rows of a trace as they are needed. Raises InvalidInput with the line that is wrong."""
    try:
        file = path.open(encoding="utf-8", newline="")
    except OSError as error:
        raise InvalidInput(what=f"The trace {path} cannot be read: {error.strerror}.") from error
    with file:
        lines = csv.reader(file)
        heading = next(lines, [])
        if tuple(heading) != COLUMNS:
            raise InvalidInput(
                what=f"{path}, line 1: the columns must be {','.join(COLUMNS)}; found {','.join(heading)}."
            )
        last = -math.inf
        for line in lines:
            row = _row(path, lines.line_num, line)
            if row.at < last:
                raise InvalidInput(
                    what=f"{path}, line {lines.line_num}: time goes back. Sort the rows by the column at."
                )
            last = row.at
            yield row


def _row(path: Path, number: int, line: list[str]) -> Row:
    try:
        at, kind, package, size, group, tape, start = line
        row = Row(float(at), kind, package, int(size), group, tape, int(start))
    except ValueError as error:
        raise InvalidInput(
            what=f"{path}, line {number}: {error}. A row is {','.join(COLUMNS)}, with numbers in at, size and start."
        ) from error
    if kind not in {"recall", "write"}:
        raise InvalidInput(what=f"{path}, line {number}: kind is {kind!r}; it must be recall or write.")
    if not math.isfinite(row.at) or row.at < 0 or row.size < 0 or row.start < 0:
        raise InvalidInput(what=f"{path}, line {number}: at, size and start must not be negative.")
    return row

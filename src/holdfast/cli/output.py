# SPDX-License-Identifier: Apache-2.0
"""What people see: sizes, times, tables and progress; and what machines see: one JSON object as the last line."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Final

import click
from pydantic import BaseModel
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from holdfast.errors import HoldfastError, Unreachable

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000
_WIDE: Final = 1000  # columns: a row is a line, which terminals break better than columns of a few letters


def size(number: float | None) -> str:
    """Return bytes for people, in decimal units."""
    if number is None:
        return "-"
    for unit in _UNITS:
        if number < _STEP or unit == _UNITS[-1]:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= _STEP
    return ""


def moment(at: datetime | None) -> str:
    """Return a time for people, UTC to the second."""
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S") if at else "-"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return "less than a minute"
    days, hours, left = minutes // 1440, minutes // 60 % 24, minutes % 60
    parts = [f"{days} d"] * bool(days) + [f"{hours} h"] * bool(hours) + [f"{left} min"] * bool(left)
    return " ".join(parts[:2])


def plain(text: str) -> Text:
    """Return text that is shown as it is, without markup and with control characters escaped."""
    return Text(_harmless(text))


def _harmless(text: str) -> str:
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> None:
    """Print a table; `right` are the columns that hold numbers."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        made.add_column(heading, justify="right" if number in right else "left", overflow="fold", no_wrap=number == 0)
    for row in rows:
        made.add_row(*(plain(cell) for cell in row))
    screen = Console(highlight=False, width=_WIDE, height=_WIDE)  # both, or a dumb terminal has 80
    with screen.capture() as drawn:
        screen.print(made)
    for line in drawn.get().splitlines():
        click.echo(line.rstrip())


def say(text: str, *, err: bool = False) -> None:
    """Print a line for people; empty ones may stand around it, but no title or name that it tells breaks it."""
    line = text.strip("\n")
    before, _, after = text.partition(line) if line else (text, "", "")
    click.echo(before + _harmless(line) + after, err=err)


def give(value: BaseModel | dict[str, Any]) -> None:
    """Print one JSON object on a line of its own."""
    click.echo(value.model_dump_json() if isinstance(value, BaseModel) else json.dumps(value))


def complain(error: HoldfastError, *, as_json: bool) -> None:
    """Tell what went wrong, on standard error, or as JSON where machines listen."""
    sentence = error.sentence
    if isinstance(error, Unreachable):  # here, that is the archive
        sentence += " Is it running (holdfast up), and is this its address (HOLDFAST_URL)?"
    if as_json:
        give({"error": {"code": getattr(error, "of", error.code), "sentence": sentence}})
    else:
        say(f"holdfast: {sentence}", err=True)


class Bar:
    """Progress of long work: bytes, files, rate, time left; on a terminal only."""

    def __init__(self, progress: Progress | None) -> None:
        """A bar without `progress` shows nothing."""
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def at(self, what: str, *, done: int, total: int, note: str = "") -> None:
        """Show how far a step is, in bytes."""
        if self._progress is None:
            return
        if what not in self._tasks:
            self._tasks[what] = self._progress.add_task(what, total=max(total, 1), note="")
        task = self._tasks[what]
        self._progress.update(task, completed=done if total else 1, total=max(total, 1), note=note)


@contextmanager
def progress(*, shown: bool) -> Iterator[Bar]:
    """Yield a bar that is shown when standard error is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield Bar(None)
        return
    columns = (
        TextColumn("{task.description:<8}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as shown_progress:
        yield Bar(shown_progress)

# SPDX-License-Identifier: Apache-2.0
"""The command that plays a tape library on paper: simulate."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import click

from holdfast.cli.options import json_option
from holdfast.cli.output import give, say, size, table
from holdfast.errors import UsageError
from holdfast.scheduling.geometry import MEDIA, media_type
from holdfast.simulation import library, trace
from holdfast.simulation.play import SCHEDULERS, play
from holdfast.simulation.plot import waiting

_HOUR: Final = 3600.0
_GB: Final = 10**9


@dataclass(frozen=True, slots=True)
class _Source:
    """Where the rows come from; they are made anew for each run, so that none is kept."""

    file: str | None
    generate: str | None
    requests: int
    hours: float
    datasets: int
    years: float
    recalled: float
    rate: float
    seed: int

    def rows(self, of: library.Library) -> Iterator[trace.Row]:
        if self.file:
            return trace.read_csv(Path(self.file))
        if self.generate == "years":
            return trace.decades(datasets=self.datasets, years=self.years, recalled=self.recalled, seed=self.seed)
        if self.generate == "burst":
            return trace.burst(rate=self.rate * _GB, hours=self.hours, segment=of.writing.segment)
        tapes = of.recallable()
        if not tapes:
            raise UsageError(what="No tape of the library holds anything. Set filled of some [[tapes]] above 0.")
        return trace.recalls(tapes, count=self.requests, hours=self.hours, seed=self.seed)


@click.command()
@click.option("--library", "library_file", required=True, metavar="FILE", help="The library, as TOML.")
@click.option("--trace", "trace_file", metavar="FILE", help="What is asked of it, as CSV.")
@click.option("--generate", type=click.Choice(["recalls", "years", "burst"]), help="Make the trace up instead.")
@click.option("--requests", default=10_000, show_default=True, help="Of generated recalls.")
@click.option("--hours", default=12.0, show_default=True, help="Over which recalls or a burst come; 0: all at once.")
@click.option("--datasets", default=320_000, show_default=True, help="Written over generated years.")
@click.option("--years", default=10.0, show_default=True, help="Of writing and recalling.")
@click.option("--recalled", default=0.3, show_default=True, help="Share of the datasets recalled over the years.")
@click.option("--rate", default=10.0, show_default=True, help="Of a generated burst, GB/s.")
@click.option("--seed", default=1, show_default=True, help="The same seed makes the same trace.")
@click.option("--save-trace", metavar="FILE", help="Write the trace as CSV.")
@click.option(
    "--scheduler", type=click.Choice(list(SCHEDULERS)), default="weighted", show_default=True, help="Who decides."
)
@click.option(
    "--learn", is_flag=True, help="Learn the wraps of each tape from its recalls (see [truth] in the library)."
)
@click.option("--drives", "what_drives", type=int, metavar="+N", help="What if: so many drives more (-N: fewer).")
@click.option("--media", "what_media", type=click.Choice(list(MEDIA)), help="What if: all tapes were of this type.")
@click.option("--ageing-cap", "what_cap", type=float, metavar="HOURS", help="What if: the ageing cap were this.")
@click.option("--write-enough", "what_enough", type=float, metavar="GB", help="What if: this much warranted a mount.")
@click.option("--out", metavar="DIR", help="Write requests.csv and waiting.svg there.")
@json_option
def simulate(
    library_file: str,
    save_trace: str | None,
    scheduler: str,
    learn: bool,
    what_drives: int | None,
    what_media: str | None,
    what_cap: float | None,
    what_enough: float | None,
    out: str | None,
    as_json: bool,
    **given: Any,
) -> None:
    """Play a tape library on a virtual clock: how long requests would wait, and what if something were different.

    Needs no running archive. The scheduler is the one that runs the real drives.
    """
    source = _source(given)
    plain = library.read(Path(library_file))
    runs = {"as it is": plain}
    changed = _what_if(plain, what_drives, what_media, what_cap, what_enough)
    if changed != plain:
        runs["what if"] = changed
    if save_trace:
        trace.write_csv(Path(save_trace), source.rows(plain))
    folder = Path(out) if out else None
    if folder:
        folder.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, float]] = {}
    times: dict[str, array[float]] = {}
    for name, one in runs.items():
        log = folder / ("requests.csv" if name == "as it is" else "requests-what-if.csv") if folder else None
        found[name], times[name] = play(
            one, source.rows(one), scheduler=scheduler, seed=source.seed, learn=learn, log=log
        )
    if folder:
        (folder / "waiting.svg").write_text(waiting(times), encoding="utf-8")
    if as_json:
        give({name.replace(" ", "_"): figures for name, figures in found.items()})
        return
    _told(found)
    if folder:
        say(f"\nEach request is in {folder / 'requests.csv'}, a picture in {folder / 'waiting.svg'}.")


def _source(given: dict[str, Any]) -> _Source:
    """Return where rows come from. Raises UsageError."""
    source = _Source(file=given.pop("trace_file"), **given)
    if bool(source.file) == bool(source.generate):
        raise UsageError(what="Say either which trace to play (--trace FILE) or what to make up (--generate recalls).")
    least = min(source.requests, source.datasets)
    if least < 1 or source.hours < 0 or source.years <= 0 or source.rate <= 0 or source.recalled < 0:
        raise UsageError(what="Numbers of requests and datasets, years and rate must be above 0, hours not below.")
    return source


def _what_if(
    plain: library.Library, drives: int | None, media: str | None, cap: float | None, enough: float | None
) -> library.Library:
    changed = plain
    if media:
        changed = changed.with_media(media_type(media))
    if drives:
        changed = changed.with_drives(drives)
    if cap is not None:
        changed = replace(changed, policy=replace(changed.policy, ageing_cap=cap * _HOUR))
    if enough is not None:
        changed = replace(changed, writing=replace(changed.writing, enough=int(enough * _GB)))
    return changed


_HOURS: Final = (
    ("makespan", "makespan_s"),
    ("lower bound of the makespan", "bound_s"),
    ("wait, mean", "mean_s"),
    ("wait, median", "median_s"),
    ("wait, 95 of 100", "p95_s"),
    ("wait, longest", "max_s"),
    ("until the buffer is empty", "drain_s"),
)
_SHARES: Final = (("drives in use", "drive_use"), ("robot in use", "robot_use"), ("tapes filled", "filling"))
_COUNTS: Final = (("requests", "requests"), ("mounts", "mounts"), ("write sessions", "write_sessions"))
_SIZES: Final = (("read", "read_bytes"), ("written, each twice", "written_bytes"), ("buffer", "buffer_peak_bytes"))


def _told(found: dict[str, dict[str, float]]) -> None:
    every = list(found.values())
    rows = [(label, *(f"{figures[key]:.0f}" for figures in every)) for label, key in _COUNTS]
    rows += [(label, *(f"{figures[key] / _HOUR:.2f} h" for figures in every)) for label, key in _HOURS]
    rows += [(label, *(f"{figures[key]:.1%}" for figures in every)) for label, key in _SHARES]
    rows += [(label, *(size(figures[key]) for figures in every)) for label, key in _SIZES]
    table(("figure", *found), rows, right=tuple(range(1, len(found) + 1)))


COMMANDS = (simulate,)

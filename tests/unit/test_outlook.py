# SPDX-License-Identifier: Apache-2.0
"""What people are told before their files are read."""

from __future__ import annotations

from holdfast.scheduling.asks import Ask, Drive, Extent, Tape
from holdfast.scheduling.geometry import MEDIA, WrapMap, can
from holdfast.scheduling.outlook import outlook
from holdfast.scheduling.recalls import Recalls

GB = 10**9


def recalls(names: str) -> Recalls:
    """Return a queue in which each asks for a package on a tape of its own: T0, T1, ..."""
    queue = Recalls()
    for number, name in enumerate(names):
        queue.tape(Tape(f"T{number}", MEDIA["M8"], WrapMap.nominal(MEDIA["M8"])))
        queue.ask(Ask(name, f"p{number}", (Extent(f"T{number}", 0, GB),), 0.0))
    return queue


def test_every_request_is_told_when_and_why() -> None:
    queue = recalls("abc")
    queue.begin("T0", 0.0)
    told = {one.ask: one for one in outlook(queue, [Drive("d1", "LTO-8", "T0", free=False)], 0.0)}
    assert [told[name].code for name in "abc"] == ["reading", "queued", "queued"]
    assert told["a"].expected < told["b"].expected < told["c"].expected
    assert all(one.earliest <= one.expected <= one.latest for one in told.values())
    assert "number 2 of 2" in told["c"].reason
    assert told["c"].place == "number 2 of 2 tapes that wait"
    assert told["a"].place == "being read"
    hopeless = list(outlook(queue, [Drive("d9", "LTO-9")], 0.0))
    assert {one.code for one in hopeless} == {"no-drive"}


def test_drives_of_no_kind_read_every_medium() -> None:
    queue = recalls("a")
    assert can("", "M8")
    assert can("LTO-7", "SIM")
    drives = [Drive("d1", "LTO-7"), Drive("d2", "")]
    assert [mount.drive for mount in queue.decide(drives, 0.0)] == ["d2"]
    assert {one.code for one in outlook(queue, drives, 0.0)} == {"queued"}


def test_fewer_readers_than_drives_are_waited_for() -> None:
    queue = recalls("abc")
    drives = [Drive(f"d{number}", "LTO-8") for number in range(3)]
    first, *others = [
        max(one.expected for one in outlook(queue, drives, 0.0, at_once=readers)) for readers in (3, 2, 1)
    ]
    assert first < others[0] < others[1]

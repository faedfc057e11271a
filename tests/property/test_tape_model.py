# SPDX-License-Identifier: Apache-2.0
"""A simulated tape against a dictionary: what is now, and what the last index has."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from holdfast.errors import Conflict, NotFound, TapeFull
from holdfast.tape.posix import PosixSession
from holdfast.tape.simulator import SimulatedLibrary
from holdfast.testing.faults import sample

SERIAL = "HF0001L8"
CAPACITY = 3_000_000  # bytes; small enough to be filled
NAMES = st.sampled_from(["a", "b", "c", "d"])
SIZES = st.sampled_from([0, 1, 4096, 5000, 100_000, 600_000, 1_500_000])


class TapeAgainstDictionary(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.library = SimulatedLibrary.create(self.root / "library", tapes=1, capacity=CAPACITY, drives=1)
        self.now: dict[str, tuple[bytes, str]] = {}
        self.durable: dict[str, tuple[bytes, str]] = {}
        self.used = 0  # at least so many bytes are on the tape
        self.number = 0
        self.generation = 1

    @initialize()
    def mount(self) -> None:
        self.stack = contextlib.ExitStack()
        (self.session,) = self.stack.enter_context(self.library.sessions([SERIAL], "write", timeout=0))
        assert isinstance(self.session, PosixSession)

    @rule(name=NAMES, size=SIZES)
    def write(self, name: str, size: int) -> None:
        self.number += 1
        content, attribute = sample(size, f"{self.number}"), f"{self.number}"
        try:
            self.session.write(name, [content], {"k": attribute})
        except Conflict:
            assert name in self.now
        except TapeFull:
            # Full means full: what is on the tape, with the partial file, reaches the early warning.
            assert self.used + size >= CAPACITY * 0.99
            self.used = int(CAPACITY * 0.99)
        else:
            assert name not in self.now
            self.now[name] = (content, attribute)
            self.used += size
            assert self.used <= CAPACITY

    @rule(name=NAMES)
    def delete(self, name: str) -> None:
        self.session.delete(name)
        self.now.pop(name, None)

    @rule(name=NAMES)
    def set_attributes(self, name: str) -> None:
        self.number += 1
        try:
            self.session.set_attributes(name, {"k": f"{self.number}"})
        except NotFound:
            assert name not in self.now
        else:
            self.now[name] = (self.now[name][0], f"{self.number}")

    @rule(name=NAMES)
    def read(self, name: str) -> None:
        try:
            content = b"".join(self.session.read(name))
        except NotFound:
            assert name not in self.now
        else:
            assert content == self.now[name][0]

    @rule()
    def sync(self) -> None:
        self.session.sync("model")
        self.durable = dict(self.now)

    @rule()
    def close(self) -> None:
        self.stack.close()
        self.durable = dict(self.now)
        self.mount()
        assert self.session.recovered == ()

    @precondition(lambda self: self.now != self.durable)
    @rule()
    def die(self) -> None:
        # As the kernel leaves it: nothing of the session runs any more, the locks are free.
        self.session._closed = True
        self.session._given_back()
        self.stack.close()
        self.mount()
        assert {*self.session.recovered} == {*self.now} - {*self.durable}
        self.now = dict(self.durable)

    @invariant()
    def shows_what_is_now(self) -> None:
        listed = {file.name: (file.size, file.attributes) for file in self.session.list()}
        assert listed == {name: (len(content), {"k": k}) for name, (content, k) in self.now.items()}

    @invariant()
    def says_what_is_durable(self) -> None:
        volume = self.library.stat(SERIAL)
        assert volume.consistent or self.generation <= volume.generation
        assert 0 <= volume.free <= CAPACITY
        assert volume.generation >= self.generation
        self.generation = volume.generation
        if volume.consistent:
            assert volume.capacity - volume.free == self.used

    def teardown(self) -> None:
        self.stack.close()
        shutil.rmtree(self.root)


TestTapeAgainstDictionary = TapeAgainstDictionary.TestCase
TestTapeAgainstDictionary.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)

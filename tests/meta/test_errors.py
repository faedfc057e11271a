# SPDX-License-Identifier: Apache-2.0
"""The error tree is whole: stable codes, one sentence each, drawn at the top of its file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from holdfast import errors
from holdfast.errors import (
    HoldfastError,
    IntegrityError,
    NotAllowed,
    OperatorNeeded,
    Refused,
    TransientError,
    UsageError,
)


def tree(top: type[HoldfastError] = HoldfastError) -> Iterator[type[HoldfastError]]:
    yield top
    for below in top.__subclasses__():
        yield from tree(below)


def test_codes_are_own_and_unique() -> None:
    codes = [cls.__dict__.get("code") for cls in tree()]
    assert [cls.__name__ for cls in tree() if "code" not in cls.__dict__] == []
    assert sorted(set(codes)) == sorted(codes)
    assert [code for code in codes if not re.fullmatch(r"[a-z]+(-[a-z]+)*", code)] == []


def test_every_error_says_what_it_is() -> None:
    assert [
        cls.__name__ for cls in tree() if not (cls.__dict__.get("__doc__") or "").strip().endswith((".", ")"))
    ] == []


def test_every_error_belongs_to_who_must_act() -> None:
    # Refused relays a server's error; the server's code says which family that belongs to.
    families = (UsageError, NotAllowed, TransientError, IntegrityError, OperatorNeeded, Refused)
    assert [cls.__name__ for cls in tree() if cls is not HoldfastError and not issubclass(cls, families)] == []


def test_every_error_lives_in_the_one_tree() -> None:
    assert [cls.__name__ for cls in tree() if cls.__module__ != errors.__name__] == []

# SPDX-License-Identifier: Apache-2.0
"""The page of all errors, from `holdfast.errors` and the two tables that give them status and exit code."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from holdfast.cli.exits import EXITS, UNEXPECTED
from holdfast.errors import (
    HoldfastError,
    IntegrityError,
    NotAllowed,
    OperatorNeeded,
    Refused,
    TransientError,
    UsageError,
)
from holdfast.web.problems import status_of

_HEAD: Final = """\
# Errors

<!-- Made by `make docs` from src/holdfast/errors.py, web/problems.py and cli/exits.py: change those. -->

Every error has a code that does not change. It stands in the problem documents of the REST API (`code`), in the JSON of
the command line (`error.code`), and in what `holdfast show` says of things that wait. The sentence is made from a
template; what stands in braces is filled in. The family says who can act.

What waits also says since when, how often it was tried, when it is tried next, and who can act: `nobody` (it is tried
again by itself, after 1, 2, 4, ... at most 600 seconds), `you`, or `operator`.
"""
_FAMILIES: Final[tuple[tuple[type[HoldfastError], str, str], ...]] = (
    (UsageError, "You: change what you asked for", "The same call gives the same error again."),
    (NotAllowed, "You: ask for the right", "The token does not allow it."),
    (TransientError, "Nobody: wait", "It did not work now. Jobs try again by themselves; a call can be repeated."),
    (IntegrityError, "An operator, or the owner of the source", "Bytes are not what they were."),
    (OperatorNeeded, "An operator", "It does not get better by waiting."),
    (Refused, "As the code that it carries says", "Only the client raises it: the server's answer is an error."),
)
_OTHER: Final = """
## Codes that are no class

| code | where | meaning |
|---|---|---|
| `unexpected` | REST 500, waiting things | A defect. The reason is in the log of the process. |
| `http-401` | REST 401 | No token was sent. |
| `http-404`, `http-405` | REST | There is no such route or method. |
| `http-400`, `http-416` | REST | It is no request that can be read; there is no such range of a file. |
| `too-large` | REST 413 | The body has more than 16 MiB. |
| `packages-missing` | a rebuilt dataset | Some of its packages are on none of the tapes that were read. |
"""


def tree(top: type[HoldfastError] = HoldfastError) -> Iterator[type[HoldfastError]]:
    """Yield all classes of errors, the general before the special."""
    yield top
    for below in top.__subclasses__():
        yield from tree(below)


def page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for family, who, what in _FAMILIES:
        parts.append(
            f"\n## {who}\n\n{what}\n\n| code | HTTP | exit | what it says | what to do |\n|---|---|---|---|---|\n"
        )
        parts += [_row(error) for error in tree(family)]
    parts.append(f"\nThe root of all, `{HoldfastError.code}`, is never raised itself.\n")
    return "".join([*parts, _OTHER])


def _row(error: type[HoldfastError]) -> str:
    meaning = (error.__doc__ or "").strip().splitlines()[0]
    says = "" if error.template == HoldfastError.template else f" Says: “{error.template}”"
    own = error is not Refused
    status = str(status_of(error)) if own else "-"
    return f"| `{error.code}` | {status} | {_exit(error) if own else 'by code'} | {meaning}{says} | {error.advice or '-'} |\n"


def _exit(error: type[HoldfastError]) -> int:
    return next((code for family, code in EXITS if issubclass(error, family)), UNEXPECTED)

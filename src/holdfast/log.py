# SPDX-License-Identifier: Apache-2.0
"""What is told while it runs: lines for people or JSON lines for programs, with the ids of what is being worked on.

Nothing secret is written: passwords in connection strings and tokens are masked in every line, also in tracebacks.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Final, TextIO

_bound: Final[ContextVar[dict[str, str]]] = ContextVar("holdfast_log", default={})  # noqa: B039 - never changed in place
_SECRETS: Final = (
    (re.compile(r"(password=)('[^']*'|\S+)", re.IGNORECASE), r"\1********"),
    (re.compile(r"(://[^/\s:@]*:)[^/\s@]+(@)"), r"\1********\2"),
    (re.compile(r"(bearer\s+|token[=:]\s*)\S+", re.IGNORECASE), r"\1********"),
)


@contextmanager
def bind(**ids: object) -> Iterator[None]:
    """Add ids (`site`, `job`, `dataset`, ...) to every line logged inside, in this thread or task."""
    token = _bound.set({**_bound.get(), **{name: str(value) for name, value in ids.items()}})
    try:
        yield
    finally:
        _bound.reset(token)


def set_up(*, level: str = "info", form: str = "text", stream: TextIO | None = None) -> None:
    """Send all logging to one stream (standard error), as `text` or `json`; may be called again."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonLines() if form == "json" else _Text())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # These tell every request and every poll at "info".
    for name in ("httpx", "httpcore", "procrastinate", "psycopg.pool", "uvicorn.access"):
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))


def masked(text: str) -> str:
    """Return the text without what looks like a password or token."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _when(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        ids = "".join(f" {name}={value}" for name, value in _bound.get().items())
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return masked(f"{_when(record)} {record.levelname.lower():7} {record.getMessage()}{ids}{trace}")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {"time": _when(record), "level": record.levelname.lower(), "logger": record.name, **_bound.get()}
        line["message"] = masked(record.getMessage())
        if record.exc_info:
            line["traceback"] = masked(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

# SPDX-License-Identifier: Apache-2.0
"""Mounting: the one way in which services get tapes into drives."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from holdfast.services.archive import Archive
from holdfast.tape.library import Mode, TapeSession

_LOG = logging.getLogger(__name__)
# What a mount is for.
Purpose = Literal["write", "recall", "check", "erase", "repair", "rebuild"]
_PATIENCE: Final = 60.0  # seconds to wait for drives before the job gives its slot back


@contextmanager
def mounted(
    archive: Archive, serials: Sequence[str], mode: Mode, purpose: Purpose, *, patience: float | None = None
) -> Iterator[Sequence[TapeSession]]:
    """Yield a session for each tape, all or none; `patience` is in seconds, a minute when None.

    Raises Busy (no drives in time), MediumFailed, NotFound, InvalidInput, LibraryUnavailable.
    """
    _LOG.debug("mounting %s for %s", ", ".join(serials), purpose)
    with archive.library.sessions(serials, mode, timeout=_PATIENCE if patience is None else patience) as sessions:
        yield sessions

# SPDX-License-Identifier: Apache-2.0
"""Names inside a package and on a medium (FORMAT section 3)."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from typing import Final

from holdfast.errors import InvalidInput
from holdfast.model.entry import Entry

# Names that we make ourselves begin like this, so a source name that looks like one is escaped too.
_ESCAPED: Final = re.compile(r"=[0-9a-f]{8}\.")
_PART: Final = re.compile(r"\.part-\d{4,}-of-\d{4,}$")
# Nearly all paths: printable ASCII without blank, `%` and `=`. One match spares the look at every character.
_PLAIN: Final = re.compile(rb"[!-$&-<>-~]+")
# Components that are not empty, `.` or `..`, without NUL.
_RELATIVE: Final = re.compile(rb"(?!\.{1,2}(?:/|\Z))[^/\0]+(?:/(?!\.{1,2}(?:/|\Z))[^/\0]+)*")
_SAFE_IN_ESCAPED: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-")
_SAFE_ON_MEDIUM: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
COMPONENT_LIMIT: Final = 255  # bytes; what Linux file systems take
MEDIUM_NAME_LIMIT: Final = 200  # bytes; FORMAT section 3, below the 255 of LTFS
SUFFIX: Final = ".tar.zst"  # of a bag
SIDECAR: Final = ".holdfast.json"  # after the name of a plain package: the file that says what it is


def stored_path(path: bytes) -> str:
    """Return the name under which `path` stands in the bag, below `data/`.

    Most names are kept as they are. A component is escaped when tools that read bags could mistake it: not UTF-8,
    control characters, `%` (RFC 8493 encodes it, sha512sum does not), blanks at its ends, not in Unicode form NFC
    (bagit.py refuses a bag in which two names have the same NFC form), or the look of a name that we make: an
    escaped one, a part of a file. The original bytes then stand in `metadata/tree.json`.
    """
    if _PLAIN.fullmatch(path) and b".part-" not in path:
        return path.decode("ascii")
    return "/".join(_stored_component(component) for component in path.split(b"/"))


def stored_part_path(path: bytes, number: int, count: int) -> str:
    """Return the name under which part `number` of `count` of the file `path` stands in the bag, below `data/`."""
    folder, slash, name = path.rpartition(b"/")
    suffix = _part_suffix(number, count)
    stored = stored_path(name)
    if len(stored.encode()) + len(suffix) > COMPONENT_LIMIT:
        stored = _escaped(name, COMPONENT_LIMIT - len(suffix))
    return (stored_path(folder) if slash else "") + slash.decode() + stored + suffix


def _part_suffix(number: int, count: int) -> str:
    return f".part-{number:04}-of-{count:04}"


def _stored_component(component: bytes) -> str:
    try:
        name = component.decode("utf-8")
    except UnicodeDecodeError:
        return _escaped(component)
    if (
        name != name.strip()
        or "%" in name
        or _ESCAPED.match(name)
        or _PART.search(name)
        or not unicodedata.is_normalized("NFC", name)
        or any(unicodedata.category(char) in {"Cc", "Zl", "Zp"} for char in name)
    ):
        return _escaped(component)
    return name


def _escaped(component: bytes, limit: int = COMPONENT_LIMIT) -> str:
    name = "".join(chr(b) if b in _SAFE_IN_ESCAPED else f"={b:02X}" for b in component)
    room = limit - len("=01234567.")
    return f"={hashlib.sha512(component).hexdigest()[:8]}.{name[-room:]}"


def check_relative(path: bytes) -> None:
    """Refuse a path that is absolute, empty, or could leave its folder. Raises InvalidInput."""
    if not _RELATIVE.fullmatch(path):
        raise InvalidInput(what=f"{printable(path)!r} is not a path inside a dataset.")


def printable(path: bytes) -> str:
    r"""Return `path` for people: UTF-8 where it is, `\xNN` where it is not, control characters escaped."""
    text = path.decode("utf-8", "backslashreplace")
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def medium_name(
    *, dataset: str, segment: int, segments: int, server: str, path: bytes, file: Entry | None = None
) -> str:
    """Return the name of a package on a medium: at most 200 bytes of `[A-Za-z0-9._+=-]` (FORMAT section 3).

    `file` is the one that is stored as it is: the name ends like its path and leaves room for that of the sidecar.
    """
    suffix, limit = SUFFIX, MEDIUM_NAME_LIMIT
    if file is not None:
        path, limit = path + b"/" + file.path, MEDIUM_NAME_LIMIT - len(SIDECAR)
        suffix = _part_suffix(file.part.number, file.part.count) if file.part else ""
    head = f"{dataset}.{segment}of{segments}.{_on_medium(server.encode())}."
    room = limit - len(head) - len(suffix)
    body = _on_medium(path.strip(b"/"))
    if len(body) > room:
        mark = f"+...{hashlib.sha512(path).hexdigest()[:8]}...+"
        keep = max(room - len(mark), 0)
        left = keep // 2
        body = body[:left] + mark + body[len(body) - (keep - left) :]
    return f"{head}{body}{suffix}"


def sidecar_name(name: str) -> str:
    """Return the name of the sidecar of the plain package `name`."""
    return name + SIDECAR


def _on_medium(raw: bytes) -> str:
    return "".join("+" if b == ord("/") else chr(b) if b in _SAFE_ON_MEDIUM else f"={b:02X}" for b in raw)

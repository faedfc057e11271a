# SPDX-License-Identifier: Apache-2.0
"""The headers of a FITS file, plain or in gzip: cards of 80 characters in blocks of 2,880 bytes (FITS standard 4.0).

A reader of our own: see docs/explanation/decisions/0007.
"""

from __future__ import annotations

import errno
import gzip
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final, cast

from holdfast.formats.kinds import GZIP
from holdfast.formats.values import Pair, of_number, of_text

_BLOCK: Final = 2880  # bytes
_CARD: Final = 80  # bytes
_BLOCKS: Final = 1000  # of one header: 36,000 cards; real ones have some thousand
_HDUS: Final = 1000  # of one file
_UNZIPPED: Final = 1_000_000_000  # bytes of a gzip file, some seconds: headers behind them are not looked for
_BITPIX: Final = {8, 16, 32, 64, -32, -64}
_AXES: Final = 999
_NO_VALUE: Final = ("COMMENT ", "HISTORY ", " " * 8)
_STRING: Final = re.compile(r" *'((?:[^']|'')*)'")
_UNIT: Final = re.compile(r"[^/]*/ *\[([^\]]{1,32})\]")
_INTEGER: Final = re.compile(r"[+-]?\d{1,100}", re.ASCII)
_FLOAT: Final = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[EDed][+-]?\d{1,3})?", re.ASCII)
# Say how the data lie in the file, not what they are.
_STRUCTURE: Final = re.compile(
    r"SIMPLE|XTENSION|BITPIX|NAXIS\d*|EXTEND|GROUPS|[PG]COUNT|TFIELDS|THEAP|BSCALE|BZERO|BLANK|LONGSTRN|EXT(NAME|VER|LEVEL)"
    r"|T(FORM|TYPE|UNIT|DIM|SCAL|ZERO|NULL|DISP|BCOL|LMIN|LMAX|DMIN|DMAX|CTYP|CUNI|CRVL|CRPX|CDLT)\d+"
    r"|P(TYPE|SCAL|ZERO)\d+|Z?(CHECKSUM|DATASUM)|ZHECKSUM"
    r"|Z(IMAGE|TABLE|CMPTYPE|CTYP\d+|FORM\d+|BITPIX|NAXIS\d*|TILE(\d+|LEN)|NAME\d+|VAL\d+|MASKCMP|QUANTIZ|DITHER0|BLANK"
    r"|SIMPLE|EXTEND|TENSION|PCOUNT|GCOUNT|THEAP)"
)
_UTC: Final = {"UTC", "UT", "GMT", ""}


class BadFits(Exception):
    """The file is not FITS as the standard has it."""


def read(file: BinaryIO) -> Iterator[Pair]:
    """Yield the keywords of all headers, one after the other. Raises BadFits, EOFError, OSError, zlib.error."""
    zipped = file.read(len(GZIP)) == GZIP
    file.seek(0)
    file = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if zipped else file
    zone_of_all = "UTC"
    for number in range(_HDUS):
        head = file.read(_BLOCK)
        if number and not head.startswith(b"XTENSION"):
            return  # the end, or records that the standard leaves to others
        header: dict[str, Any] = {}
        units: dict[str, str] = {}
        for key, value, unit in _keywords(_cards(file, head, number)):
            header.setdefault(key, value)
            units.setdefault(key, unit)
        zone = str(header.get("TIMESYS", zone_of_all)).upper()
        zone_of_all = zone if number == 0 else zone_of_all
        for key, value in header.items():
            if not _STRUCTURE.fullmatch(key):
                yield f"fits:{key}", _typed(key, value, units[key], zone)
        size = _data_size(header, number)
        if zipped and file.tell() + size > _UNZIPPED:
            return
        _skip(file, size, number)


def _cards(file: BinaryIO, block: bytes, number: int) -> Iterator[str]:
    for _ in range(_BLOCKS):
        if len(block) < _BLOCK:
            raise BadFits(f"it ends inside the header of HDU {number}")
        for at in range(0, _BLOCK, _CARD):
            raw = block[at : at + _CARD]
            if min(raw) < ord(" "):
                raise BadFits(f"the header of HDU {number} holds control characters")
            card = raw.decode("ascii", "replace")
            if card.startswith("END     "):
                return
            yield card
        block = file.read(_BLOCK)
    raise BadFits(f"the header of HDU {number} has no end")


def _keywords(cards: Iterator[str]) -> Iterator[tuple[str, Any, str]]:
    """Yield keyword, value and unit; texts over several cards are put together."""
    long: tuple[str, str] | None = None
    for card in cards:
        if long and card.startswith("CONTINUE"):
            more = _STRING.match(card[8:])
            text = long[1][:-1] + (_unquoted(more[1]) if more else "")
            long = (long[0], text)
            if not text.endswith("&"):
                yield *long, ""
                long = None
            continue
        if long:
            yield *long, ""
            long = None
        key, content = _split(card)
        if not key:
            continue
        text_found = _STRING.match(content)
        if text_found and text_found[1].rstrip().endswith("&"):
            long = (key, _unquoted(text_found[1]))
        elif text_found:
            yield key, _unquoted(text_found[1]), ""
        elif (value := _plain(content.partition("/")[0].strip())) is not None:
            unit = _UNIT.match(content)
            yield key, value, unit[1].strip() if unit else ""
    if long:
        yield *long, ""


def _split(card: str) -> tuple[str, str]:
    """Return keyword and what stands behind its sign of equality; no keyword where there is no value."""
    if card.startswith("HIERARCH "):
        key, equals, content = card[9:].partition("=")
        return (" ".join(key.split()), content) if equals else ("", "")
    if card.startswith(_NO_VALUE) or card[8:10] != "= ":
        return "", ""
    return card[:8].rstrip(), card[10:]


def _unquoted(text: str) -> str:
    return text.replace("''", "'").rstrip()


def _plain(text: str) -> bool | float | None:
    if text in {"T", "F"}:
        return text == "T"
    if _INTEGER.fullmatch(text):
        return int(text)
    return float(text.upper().replace("D", "E")) if _FLOAT.fullmatch(text) else None


def _typed(key: str, value: Any, unit: str, zone: str) -> Any:
    """Return a keyword's value; moments without a zone are in UTC unless the header says that they are not."""
    if isinstance(value, str):
        return of_text(value, zone="Z" if zone in _UTC and key.startswith("DATE") else "")
    return value if isinstance(value, bool) else of_number(value, unit)


def _data_size(header: Mapping[str, Any], number: int) -> int:
    """Return the bytes between this header and the next, without the padding."""

    def count(key: str, default: int | None = None) -> int:
        value = header.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise BadFits(f"{key} of HDU {number} is missing or no count")
        return value

    if header.get("BITPIX") not in _BITPIX or count("NAXIS") > _AXES:
        raise BadFits(f"BITPIX or NAXIS of HDU {number} is missing or not as the standard has it")
    axes = [count(f"NAXIS{axis}") for axis in range(1, count("NAXIS") + 1)]
    if axes and axes[0] == 0 and header.get("GROUPS") is True:
        axes = axes[1:]
    elements = math.prod(axes) if axes else 0
    return abs(int(header["BITPIX"])) // 8 * count("GCOUNT", 1) * (count("PCOUNT", 0) + elements)


def _skip(file: BinaryIO, size: int, number: int) -> None:
    if size == 0:
        return
    begin = file.tell()
    # The last byte is read, for one may seek behind the end of a file.
    try:
        file.seek(begin + size - 1)
    except (OverflowError, OSError) as error:
        if getattr(error, "errno", errno.EINVAL) != errno.EINVAL:
            raise  # of the disk, or of gzip
        raise BadFits(f"HDU {number} is said to be larger than a file can be") from error
    if not file.read(1):
        raise BadFits(f"it is cut: the data of HDU {number} should have {size} bytes")
    file.seek(begin + -(-size // _BLOCK) * _BLOCK)

# SPDX-License-Identifier: Apache-2.0
"""The BagIt files of a package (RFC 8493): declaration, bag-info and manifests."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from holdfast.errors import Damaged
from holdfast.packaging.identity import Identity
from holdfast.packaging.layout import DIGEST_SIZE
from holdfast.packaging.lines import manifest_line

DECLARATION = b"BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n"
_BREAKS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def bag_info(identity: Identity, *, files: int, size: int) -> bytes:
    """Return bag-info.txt for `files` payload files of `size` bytes in all."""
    fields = {
        "Bag-Count": f"{identity.segment} of {identity.segments}",
        "Bag-Group-Identifier": identity.dataset,
        "Bagging-Date": identity.created.date().isoformat(),
        "Contact-Name": identity.owner,
        "External-Description": identity.title,
        "External-Identifier": identity.dataset,
        "Payload-Oxum": f"{size}.{files}",
        "Source-Organization": identity.site,
    }
    lines = (f"{key}: {_BREAKS.sub(' ', value).strip()}\n" for key, value in fields.items() if value.strip())
    return "".join(lines).encode("utf-8", "replace")


def tag_manifest(digests: Mapping[str, bytes]) -> bytes:
    """Return tagmanifest-sha512.txt for the SHA-512 digests of all members outside of the payload."""
    return b"".join(manifest_line(name.encode(), digest) for name, digest in digests.items())


def parse_manifest(lines: Iterable[bytes], where: str) -> Iterable[tuple[bytes, bytes]]:
    """Yield (name, digest) of each line. Raises Damaged for a line that is none."""
    for line in lines:
        text, blanks, name = line.rstrip(b"\n").partition(b"  ")
        try:
            digest = bytes.fromhex(text.decode("ascii"))
        except ValueError as error:
            raise Damaged(name=where, why="a line of its manifest cannot be read") from error
        if len(digest) != DIGEST_SIZE or not blanks or not name:
            raise Damaged(name=where, why="a line of its manifest cannot be read")
        yield name, digest

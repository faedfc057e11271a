# SPDX-License-Identifier: Apache-2.0
"""The lines that a file has in manifest, tree and index.

The packer's child processes make them beside the frames and import this module, so it imports little.
"""

from __future__ import annotations

import json

from holdfast.packaging.layout import DATA

_BELOW_DATA = len(DATA) + 1  # characters of `"data/`


def quoted(text: str) -> str:
    """Return `text` as a JSON string; of plain names, which nearly all are, an order of magnitude faster than json."""
    if text.isascii() and text.isprintable() and '"' not in text and "\\" not in text:
        return f'"{text}"'
    return json.dumps(text, ensure_ascii=False)


def manifest_line(name: bytes, digest: bytes) -> bytes:
    """Return one line of a manifest; names are made so that they need no encoding (model.names.stored_path)."""
    return b"%s  %s\n" % (digest.hex().encode("ascii"), name)


def index_line(name: str, offset: int, size: int) -> bytes:
    """Return one row of the index, open at its end; `name` is quoted. `closed` adds the place of the frame."""
    return f"[{name},{offset},{size},\n".encode()


def closed(rows: bytes, frame: int) -> bytes:
    """Return open rows of members that begin in the frame at byte `frame` of the package file, closed."""
    return rows.replace(b"\n", b"%d]\n" % frame)  # a name holds no line break: in JSON it would be escaped


def plain_tree_line(name: str, mode: int, mtime_ns: int, uid: int, gid: int) -> bytes:
    """Return the tree's line of a file of which there is nothing odd to tell; `name` is that of its member, quoted."""
    return (
        f'{{"gid":{gid},"mode":"{mode:04o}","mtime_ns":{mtime_ns},"path":"{name[_BELOW_DATA:]},"uid":{uid}}}'
    ).encode()

# SPDX-License-Identifier: Apache-2.0
"""What a package says about itself: in its first member, `holdfast.json`, or in its sidecar."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from holdfast.errors import NotAPackage
from holdfast.packaging.layout import FORMAT_MAJOR, FORMAT_MINOR, FORMAT_NAME


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a package is: enough to know what was found when only its first bytes are left.

    `created` is UTC and gives all dates inside the package, so that equal input makes equal bytes. `members` and
    `payload_bytes` are what the packer planned to store.
    """

    dataset: str
    segment: int
    segments: int
    site: str
    server: str
    source_path: bytes
    title: str
    owner: str
    profile: str
    profile_version: int
    created: datetime
    members: int
    payload_bytes: int

    def to_json(self) -> bytes:
        """Return the canonical JSON that stands in the package, with a newline at its end."""
        return canonical_json(self.to_value()) + b"\n"

    def to_value(self) -> dict[str, object]:
        """Return what `to_json` gives as JSON values."""
        created = self.created.astimezone(UTC)
        value: dict[str, object] = {
            "format": {"major": FORMAT_MAJOR, "minor": FORMAT_MINOR, "name": FORMAT_NAME},
            "dataset": self.dataset,
            "segment": self.segment,
            "segments": self.segments,
            "site": self.site,
            "server": self.server,
            "source_path": self.source_path.decode("utf-8", "replace"),
            "title": self.title,
            "owner": self.owner,
            "profile": self.profile,
            "profile_version": self.profile_version,
            "created": created.isoformat(timespec="microseconds").replace("+00:00", "Z"),
            "members": self.members,
            "payload_bytes": self.payload_bytes,
        }
        if not is_utf8(self.source_path):
            value["source_path_base64"] = base64.b64encode(self.source_path).decode("ascii")
        return value

    @classmethod
    def from_json(cls, text: bytes, name: str = "holdfast.json") -> Identity:
        """Read what `to_json` wrote. Raises NotAPackage for other JSON and for a major version we do not know."""
        try:
            return cls.from_value(json.loads(text), name)
        except (ValueError, RecursionError) as error:
            raise NotAPackage(name=name, why="its identity cannot be read") from error

    @classmethod
    def from_value(cls, value: Any, name: str) -> Identity:
        """Read what `to_value` gave; other keys are left out. Raises NotAPackage as `from_json` does."""
        try:
            major = value["format"]["major"]
            if value["format"]["name"] != FORMAT_NAME:
                raise NotAPackage(name=name, why="its identity is that of something else")
            if major != FORMAT_MAJOR:
                raise NotAPackage(name=name, why=f"it has format version {major}, this program knows {FORMAT_MAJOR}")
            return cls._from_fields(value)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise NotAPackage(name=name, why="its identity cannot be read") from error

    @classmethod
    def _from_fields(cls, value: dict[str, Any]) -> Identity:
        raw = value.get("source_path_base64")
        path = base64.b64decode(raw, validate=True) if raw is not None else str(value["source_path"]).encode()
        texts = {key: str(value[key]) for key in ("dataset", "site", "server", "title", "owner", "profile")}
        "".join(texts.values()).encode()  # raises ValueError for half characters
        return cls(
            **texts,
            segment=int(value["segment"]),
            segments=int(value["segments"]),
            source_path=path,
            profile_version=int(value["profile_version"]),
            created=datetime.fromisoformat(value["created"]).astimezone(UTC),
            members=int(value["members"]),
            payload_bytes=int(value["payload_bytes"]),
        )


def canonical_json(value: object) -> bytes:
    """Return `value` as JSON with sorted keys, no blanks, and UTF-8 text as it is."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    # Half characters (names of attributes that are not UTF-8) become \udcXX, which is how JSON writes them.
    return text.encode("utf-8", "backslashreplace")


def document_value(name: str, text: bytes) -> Any:
    """Return a metadata document as a JSON value; of a `.jsonl` a list of its lines."""
    return [json.loads(line) for line in text.splitlines()] if name.endswith(".jsonl") else json.loads(text)


def document_text(name: str, value: Any) -> bytes:
    """Return the document of which `document_value` gave the value."""
    if not name.endswith(".jsonl"):
        return canonical_json(value)
    return b"".join(canonical_json(line) + b"\n" for line in value)


def is_utf8(raw: bytes) -> bool:
    """Tell whether `raw` is UTF-8 text."""
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True

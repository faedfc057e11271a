# SPDX-License-Identifier: Apache-2.0
"""Profiles: named, versioned contracts between a facility and its users."""

from __future__ import annotations

import fnmatch
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Final, Literal, get_args, get_type_hints

from holdfast.errors import InvalidInput
from holdfast.model.facts import nfc
from holdfast.model.metadata import KINDS, RESERVED, SEVERITIES, Required, checked_key
from holdfast.model.rights import SITE_ROLES

GB: Final = 1_000_000_000
Release = Literal["on-request", "never"]
Audience = Literal["nobody", "members", "everyone"]
Packaging = Literal["bag", "plain"]  # many files in one BagIt bag; one file as it is, with a sidecar
_ROLES: Final = ("admin", "operator", "member")
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,99}")


def _term(default: Any, says: str, *, least: float | None = None, most: float | None = None) -> Any:
    """One term of the contract."""
    return field(default=default, metadata={"says": says, "least": least, "most": most})


@dataclass(frozen=True, slots=True)
class Profile:
    """What is promised for a dataset; the dataset keeps the version it was made with."""

    name: str
    version: int = 1
    description: str = ""
    copies: int = _term(2, "Copies, each on a tape of its own.", least=1, most=16)
    packaging: Packaging = _term("bag", "`bag`: many files in one package; `plain`: each file as it is.")
    # 213 s of LTO writing; one sync per segment costs 3 % (CTA flushes at 32 GB)
    segment_bytes: int = _term(64 * GB, "Bytes of files in one package, about.", least=1_000_000)
    # It bounds the memory of whoever packs or reads a package.
    segment_files: int = _term(50_000, "The most files in one package.", least=1, most=1_000_000)
    # Level 3 costs up to 3 x the time for 1 % on FITS data.
    compression_level: int = _term(1, "Of zstd.", least=1, most=19)
    verify_days: int = _term(
        0, "A copy of each package is read again when none was for so many days; 0: as `planner.scrub_days` says.",
        least=0, most=36_500,
    )  # fmt: skip
    keep_days: int = _term(
        0, "A dataset is not deleted sooner than so many days after it was closed; 0: whenever its owner wants.",
        least=0, most=36_500,
    )  # fmt: skip
    longest_keep_days: int = _term(
        36_500, "The most days that one may ask for when a dataset is made.", least=0, most=36_500
    )
    two_persons: bool = _term(False, "A second person has to confirm that a closed dataset is deleted.")
    most_files: int = _term(0, "The most files of a dataset; 0: no limit.", least=0)
    most_bytes: int = _term(0, "The most bytes of a dataset; 0: no limit.", least=0)
    most_file_bytes: int = _term(0, "The most bytes of one file; 0: no limit.", least=0)
    quota_bytes: int = _term(
        0, "The most bytes that one owner has in all datasets of this profile together: a group in those that are made for it, a "
        "person in the others; 0: no limit.", least=0,
    )  # fmt: skip
    accept: tuple[str, ...] = _term(
        (), "Patterns, such as `*.h5`, of which each file's name has to fit one; none: any name."
    )
    required: tuple[str, ...] = _term(
        (), "Metadata that a dataset needs to be closed, each as `reject number energy` or `warn string sample`: what becomes "
        "of a dataset without it, the kind of the value, the key. What it was not closed without, it keeps."
    )  # fmt: skip
    release: Release = _term(
        "on-request", "`on-request`: the source of a proven dataset is removed when its owner wants; `never`."
    )
    roles: tuple[str, ...] = _term(_ROLES, "Who may make datasets of this profile: roles at the site.")
    open_to: Audience = _term(
        "nobody",
        "Who may read a dataset when its embargo is over: `nobody` else, all `members` of the site, or `everyone`.",
    )
    embargo_days: int = _term(
        0, "For so many days after closing only those may read it who have a role to it.", least=0, most=36_500
    )
    notice_days: int = _term(
        30, "An event, `dataset.embargo-ending`, tells so many days before that an embargo ends; 0: none does.", least=0,
        most=36_500,
    )  # fmt: skip
    cost_per_tb_year: float = _term(0.0, "What a copy of 10^12 bytes costs in a year; stated.", least=0)
    cost_currency: str = _term("EUR", "Of the costs; stated.")

    def to_json(self) -> dict[str, Any]:
        """Return the contract as JSON values."""
        return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(self).items()}

    @classmethod
    def from_json(cls, body: dict[str, Any]) -> Profile:
        """Return the profile that `to_json` gave; unknown keys of later versions are left out."""
        known = {key: value for key, value in body.items() if key in cls.__dataclass_fields__}
        terms: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in known.items()
        }
        return cls(**terms)

    def accepts(self, path: bytes) -> bool:
        """Say whether a file of this name may be in a dataset."""
        name = path.rpartition(b"/")[2].decode("utf-8", "replace")
        return not self.accept or any(fnmatch.fnmatchcase(name, pattern) for pattern in self.accept)

    @property
    def requirements(self) -> list[Required]:
        """The metadata that a dataset needs. Raises InvalidInput for a term that cannot be read."""
        found = []
        for text in self.required:
            severity, _, rest = text.partition(" ")
            kind, _, key = rest.partition(" ")
            if severity not in SEVERITIES or kind not in KINDS or not key:
                raise InvalidInput(
                    what=f"required = {text!r} is not as `reject number energy`: {' or '.join(SEVERITIES)}, then "
                    f"{', '.join(KINDS)}, then the key."
                )
            found.append(Required(nfc(key), kind, severity))  # type: ignore[arg-type]
        return found

    def less_than(self, other: Profile) -> list[str]:
        """Return the terms that protect a dataset and of which this profile promises less than `other`."""
        less = {
            "copies": self.copies < other.copies,
            "keep_days": self.keep_days < other.keep_days,
            "two_persons": self.two_persons < other.two_persons,
            "release": other.release == "never" != self.release,
        }
        return [term for term, is_less in less.items() if is_less]

    def same_terms(self, other: Profile) -> bool:
        """Say whether both promise the same, whatever their versions are."""
        return replace(self, version=0) == replace(other, version=0)


def terms() -> dict[str, tuple[Any, str]]:
    """Return the terms of a contract: by its key, the default and what it says."""
    found = {}
    for item in fields(Profile):
        if item.metadata:
            found[item.name] = (item.default, str(item.metadata["says"]))
    return found


def checked(given: Mapping[str, Any]) -> Profile:
    """Return the profile that somebody wrote down; `version` is left to the catalogue. Raises InvalidInput."""
    hints = get_type_hints(Profile)
    known = {item.name: item for item in fields(Profile) if item.name != "version"}
    for key, value in given.items():
        if key not in known:
            raise InvalidInput(what=f"A profile has no term {key!r}. It has: {', '.join(known)}.")
        _check(key, value, hints[key], known[key].metadata)
    missing = [key for key, item in known.items() if item.default is MISSING and key not in given]
    if missing:
        raise InvalidInput(what=f"The profile lacks {', '.join(missing)}.")
    made = Profile.from_json(dict(given))
    if not _NAME.fullmatch(made.name):
        raise InvalidInput(what=f"{made.name!r} is not a name for a profile: small letters, digits and hyphens.")
    if unknown := set(made.roles) - set(SITE_ROLES):
        raise InvalidInput(what=f"{', '.join(sorted(unknown))}: the roles are {', '.join(SITE_ROLES)}.")
    for key, kind in (("packaging", Packaging), ("release", Release), ("open_to", Audience)):
        if getattr(made, key) not in get_args(kind):
            raise InvalidInput(what=f"{key} is {' or '.join(get_args(kind))}, not {getattr(made, key)!r}.")
    _check_required(made)
    if made.keep_days > made.longest_keep_days:
        raise InvalidInput(what="keep_days is more than longest_keep_days.")
    return made


def _check_required(profile: Profile) -> None:
    """Refuse what no dataset can have when it is closed. Raises InvalidInput."""
    keys = [rule.key for rule in profile.requirements]
    for key in keys:
        checked_key(key)
        if key.startswith(RESERVED):
            raise InvalidInput(
                what=f"{key} cannot be required: it comes from the files, which are read when the dataset is closed."
            )
        if keys.count(key) > 1:
            raise InvalidInput(what=f"required names {key} twice.")


def _check(key: str, value: Any, hint: Any, bounds: Mapping[str, Any]) -> None:
    """Refuse a value that is not of the type, or not within the bounds. Raises InvalidInput."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    right = {
        int: number and isinstance(value, int), float: number, bool: isinstance(value, bool),
    }.get(hint, _is_list(value) if hint == tuple[str, ...] else isinstance(value, str))  # fmt: skip
    if not right or (isinstance(value, float) and not math.isfinite(value)):
        raise InvalidInput(what=f"{key} = {value!r} is not a value of the right kind.")
    least, most = bounds.get("least"), bounds.get("most")
    if number and ((least is not None and value < least) or (most is not None and value > most)):
        raise InvalidInput(what=f"{key} is at least {least}" + (f" and at most {most}." if most is not None else "."))


def _is_list(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(isinstance(part, str) for part in value)


DEFAULT: Final = "twin-tape"

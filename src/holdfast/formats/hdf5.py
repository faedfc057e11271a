# SPDX-License-Identifier: Apache-2.0
"""Attributes of groups, and small scalar datasets, of an HDF5 file. Imported by `holdfast.formats.child` only.

Only what is in the file itself is read: no soft or external links are followed, no data that lie elsewhere, no arrays.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final

import h5py

from holdfast.formats.values import TEXT_LIMIT, Pair, of_number, of_text

_OBJECTS: Final = 10_000  # looked at in one file
_MEMBERS: Final = 10_000  # of one group
_ATTRIBUTES: Final = 256  # of one object
# Say how things belong together, not what they are.
_PLUMBING: Final = {"NX_class", "signal", "axes", "default", "target", "interpretation"}


def read(path: str) -> Iterator[Pair]:
    """Yield attributes and values, those near the root first; raises whatever HDF5 and h5py do."""
    # Without locks, for a beamline may be at it; `locking` also spares us a file system that has none.
    with h5py.File(path, "r", locking=False) as file:
        seen = {_address(file)}
        waiting: deque[tuple[str, Any]] = deque([("", file)])
        while waiting:
            name, group = waiting.popleft()
            yield from _attributes(name, group)
            for raw in islice(group.id, _MEMBERS):  # names as bytes: one that is not UTF-8 must not hide the others
                link = _decoded(raw)
                if group.id.links.get_info(raw).type != h5py.h5l.TYPE_HARD:
                    continue
                thing = group[raw]
                if _address(thing) in seen or len(seen) >= _OBJECTS:
                    continue
                seen.add(_address(thing))
                if isinstance(thing, h5py.Group):
                    waiting.append((_path(name, link, thing), thing))
                elif isinstance(thing, h5py.Dataset) and _small(thing):
                    value = _value(thing[()], _unit(thing))
                    if value is not None:
                        yield f"hdf5:{_path(name, link)}", value


def _address(thing: Any) -> Any:
    info = h5py.h5o.get_info(thing.id)
    return info.fileno, info.addr


def _path(above: str, link: str, group: Any = None) -> str:
    """Return the name of a thing; an entry of NeXus is called NXentry, for its own name says nothing."""
    if (
        not above
        and group is not None
        and "NX_class" in group.attrs
        and _text(_attribute(group, "NX_class")) == "NXentry"
    ):
        return "NXentry"
    return f"{above}/{link}" if above else link


def _attributes(name: str, thing: Any) -> Iterator[Pair]:
    for attribute in islice(thing.attrs, _ATTRIBUTES):
        value = None if attribute in _PLUMBING else _value(_attribute(thing, attribute))
        if value is not None:
            yield f"hdf5:{name}@{_decoded(attribute)}", value


def _attribute(thing: Any, name: str) -> Any:
    """Return an attribute that is one small value, else None."""
    found = thing.attrs.get_id(name)
    return thing.attrs[name] if _one(found.shape) and found.dtype.itemsize <= TEXT_LIMIT else None


def _one(shape: tuple[int, ...] | None) -> bool:
    return shape is not None and all(length == 1 for length in shape)


def _small(dataset: Any) -> bool:
    dtype = dataset.dtype
    return (
        _one(dataset.shape)
        and dtype.itemsize <= TEXT_LIMIT
        and (dtype.kind in "iufbS" or h5py.check_string_dtype(dtype) is not None)
        and not dataset.external
        and not dataset.is_virtual
    )


def _unit(dataset: Any) -> str:
    return _text(_attribute(dataset, "units")) if "units" in dataset.attrs else ""


def _text(value: Any) -> str:
    value = _plain(value)
    return value if isinstance(value, str) else ""


def _value(value: Any, unit: str = "") -> Any:
    value = _plain(value)
    if isinstance(value, str):
        return of_text(value)
    if isinstance(value, bool):
        return value
    return of_number(value, unit) if isinstance(value, int | float) else None


def _plain(value: Any) -> Any:
    """Return what numpy holds as one text, number or truth, None when it is something else."""
    if hasattr(value, "reshape"):
        value = value.reshape(-1)[0]
    if hasattr(value, "item"):
        value = value.item()
    return _decoded(value) if isinstance(value, str | bytes) else value


def _decoded(text: str | bytes) -> str:
    """Return a name or value as a text: what is not UTF-8 is taken for Latin-1, which has the µ and ° of old files."""
    raw = text.encode("utf-8", "surrogateescape") if isinstance(text, str) else text
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")

# SPDX-License-Identifier: Apache-2.0
"""Owners and access lists are kept, and given back where the settings say so."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable

import pytest

from holdfast.model.entry import ACL
from holdfast.testing.site import SmallSite

_ANY = 0xFFFFFFFF


def access_list(uid: int) -> bytes:
    """Return an ACL as Linux keeps it (acl(5), linux/posix_acl_xattr.h): one more user may read."""
    entries = [(0x01, 6, _ANY), (0x02, 4, uid), (0x04, 0, _ANY), (0x10, 4, _ANY), (0x20, 0, _ANY)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


@pytest.mark.parametrize("profile", ["twin-tape", "plain-twin-tape"])
@pytest.mark.parametrize("owners", ["archive", "kept"])
def test_owner_and_access_list_come_back_if_wanted(
    make_site: Callable[..., SmallSite], owners: str, profile: str
) -> None:
    site = make_site(roots__owners=owners)
    folder = site.fill({"secret": b"x" * 1000})
    os.chmod(folder / "secret", 0o640)
    os.setxattr(folder / "secret", ACL, access_list(4711))
    owner = (4242, 4343) if os.geteuid() == 0 else (os.geteuid(), os.getegid())
    os.chown(folder / "secret", *owner)
    kept = os.stat(folder / "secret").st_mode
    dataset = site.register(folder, profile=profile)
    site.drain()
    site.ask(dataset)
    staged = site.stage(dataset)
    site.drain()
    back = site.destinations / "back" / "secret"
    found = os.stat(back)
    in_buffer = site.archive.settings.buffer_path / staged / "secret"
    assert ACL not in os.listxattr(in_buffer)
    assert os.stat(in_buffer).st_uid == os.geteuid()
    if owners == "kept":
        assert (found.st_uid, found.st_gid, found.st_mode) == (*owner, kept)
        assert os.getxattr(back, ACL) == access_list(4711)
    else:
        assert (found.st_uid, found.st_gid) == (os.geteuid(), os.getegid())
        assert ACL not in os.listxattr(back)

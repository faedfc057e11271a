# SPDX-License-Identifier: Apache-2.0
"""Persons with tokens, for tests of what each may."""

from __future__ import annotations

from typing import Any

from holdfast.model.rights import Scope, SiteRole
from holdfast.services.people import add_person
from holdfast.services.tokens import add_token
from holdfast.testing.site import SmallSite
from holdfast.wire.people import NewPerson

PASSWORD = "correct horse battery staple"


def person(site: SmallSite, name: str, role: SiteRole = "member", scopes: tuple[Scope, ...] = ()) -> dict[str, str]:
    """Make a person unless there is one, and return the headers of a call by that person."""
    wish: Any = {"name": name, "role": role}
    with site.archive.database.transaction() as conn:
        add_person(site.archive, conn, NewPerson(**wish), by="admin")
        made = add_token(site.archive, conn, person=name, role=role, by=name, label="", scopes=scopes)
    return {"Authorization": f"Bearer {made.secret}"}

# SPDX-License-Identifier: Apache-2.0
"""P8: REST answers each cell of the table of rights as the table says, and each route is in it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import httpx
from persons import person

from holdfast.model.rights import RIGHTS, STATES, verdict
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX, create_app

sys.path.append(str(Path(__file__).parents[2] / "scripts"))
import docs_rights

CODES = {"no": {403}, "hidden": {404}, "not now": {409}, "sign in": {401}, "yes": {200, 201, 202}}
# What changes nothing, or can be done any number of times.
PROBES: dict[str, tuple[str, str, Any]] = {
    "see": ("GET", "/datasets/{}", None),
    "read": ("GET", "/datasets/{}/content/a", None),
    "write": ("POST", "/datasets/{}/metadata", {"set": {}}),
    "who": ("GET", "/datasets/{}/grants", None),
    "manage": ("DELETE", "/datasets/{}/grants/stranger", None),
    "release": ("POST", "/datasets/{}/release", {"apply": False}),
    "check": ("POST", "/datasets/{}/check", None),
    "delete": ("GET", "/datasets/{}/deletion", None),
    "give": ("POST", "/datasets/{}/give", {"to": "owner"}),
}


def standings(site: SmallSite) -> dict[str, dict[str, str]]:
    """Make somebody of each standing, and return the headers of their calls."""
    headers: dict[str, dict[str, str]] = {"visitor": {"Authorization": ""}, "public": {"Authorization": ""}}
    for name, (who, _) in docs_rights.STANDINGS.items():
        if name not in headers:
            headers[name] = person(site, name, who.role)  # type: ignore[arg-type]
    return headers


def test_rest_answers_each_cell_of_the_table(site: SmallSite, api: httpx.Client) -> None:
    headers = standings(site)
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    site.rows("update dataset set owner = 'owner'")
    grant = 'insert into "grant" (dataset, person, role, granted_by) values (%s, %s, %s, %s)'
    for role in ("manager", "writer", "reader"):
        site.rows(grant, dataset, role, role, "owner")
    wrong, asked = [], 0
    for state in STATES:
        site.rows("update dataset set state = %s", state)
        for name, (who, roles) in docs_rights.STANDINGS.items():
            if name == "public":
                share = 'insert into "grant" (dataset, audience, role, granted_by) values (%s, %s, %s, %s)'
                site.rows(share, dataset, "everyone", "reader", "owner")
            for action, (method, path, about) in PROBES.items():
                body = {key: dataset if value == "{}" else value for key, value in (about or {}).items()}
                url = f"{PREFIX}{path.format(dataset)}"
                answer = api.request(method, url, headers=headers[name], json=body or None)
                told = verdict(who, action, roles, state)  # type: ignore[arg-type]
                asked += 1
                if answer.status_code not in CODES[told]:
                    wrong.append((state, name, action, told, answer.status_code, answer.text[:200]))
        site.rows('delete from "grant" where audience is not null')
    assert wrong == []
    assert asked == len(STATES) * len(docs_rights.STANDINGS) * len(PROBES)


def test_each_action_on_a_dataset_is_asked_for() -> None:
    assert set(PROBES) == set(docs_rights.OF_DATASETS)


def test_each_route_asks_for_a_right_or_says_why_not(site: SmallSite) -> None:
    found = dict(docs_rights.routes())
    described = create_app(site.archive).openapi()["paths"]
    served = {f"{method.upper()} {path.removeprefix(PREFIX)}" for path in described for method in described[path]}
    assert served <= set(found), "a route that is not below holdfast.web.api"
    unasked = {name for name, actions in found.items() if not actions}
    assert unasked == set(docs_rights.OPEN)
    assert {action for actions in found.values() for action in actions} <= set(RIGHTS)

# SPDX-License-Identifier: Apache-2.0
"""P8: nobody learns of what they have no right to; what one may is what the table of rights says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from persons import person

from holdfast.errors import NotAllowed
from holdfast.model.rights import VISITOR, Membership, Person
from holdfast.services.register import confined
from holdfast.services.rights import usable
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX


def look(api: httpx.Client, dataset: str, headers: dict[str, str]) -> Any:
    return api.get(f"{PREFIX}/datasets/{dataset}", headers=headers)


def test_p8_a_dataset_without_a_right_to_it_is_like_one_that_is_not_there(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    stranger = person(site, "stranger")
    routes = [("GET", ""), ("GET", "/files"), ("GET", "/folder"), ("POST", "/check"), ("POST", "/release")]
    for method, route in routes:
        known = api.request(method, f"{PREFIX}/datasets/{dataset}{route}", headers=stranger, json={})
        other = api.request(method, f"{PREFIX}/datasets/{'0' * 26}{route}", headers=stranger, json={})
        assert known.status_code == other.status_code == 404
        assert known.text.replace(dataset, "0" * 26) == other.text
    for route in ("/datasets", "/files?name=a", "/events", "/requests"):
        answer = api.get(f"{PREFIX}{route}", headers=stranger).json()
        assert answer["items"] == [], route


def test_rights_come_from_ownership_grants_and_groups_and_go_with_them(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    owner, reader, team = person(site, "tester"), person(site, "reader"), person(site, "team")
    assert look(api, dataset, owner).status_code == 200
    assert look(api, dataset, reader).status_code == 404
    site.rows(
        'insert into "grant" (dataset, person, role, granted_by) values (%s, %s, %s, %s)',
        dataset,
        "reader",
        "reader",
        "tester",
    )
    assert look(api, dataset, reader).status_code == 200
    assert api.post(f"{PREFIX}/datasets/{dataset}/check", headers=reader).status_code == 403
    site.rows("insert into \"group\" (name, site, kind, created_by) values ('2026-1', 'main', 'proposal', 'tester')")
    site.rows("insert into membership (\"group\", person, role, origin) values ('2026-1', 'team', 'manager', 'hand')")
    site.rows("update dataset set \"group\" = '2026-1'")
    assert api.post(f"{PREFIX}/datasets/{dataset}/check", headers=team).status_code == 202
    assert [item["dataset"] for item in api.get(f"{PREFIX}/files?name=a", headers=team).json()["items"]] == [dataset]
    site.rows("update membership set until_at = now()")
    assert look(api, dataset, team).status_code == 404
    site.rows('delete from "grant"')
    assert look(api, dataset, reader).status_code == 404
    assert look(api, dataset, owner).status_code == 200


def test_what_is_granted_to_everyone_is_public(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b"a"})
    nobody: dict[str, str] = {"Authorization": ""}
    assert look(api, dataset, nobody).status_code == 401
    site.rows(
        'insert into "grant" (dataset, audience, role, granted_by) values (%s, %s, %s, %s)',
        dataset,
        "members",
        "reader",
        "x",
    )
    assert look(api, dataset, person(site, "somebody")).status_code == 200
    assert look(api, dataset, nobody).status_code == 401
    site.rows("update \"grant\" set audience = 'everyone'")
    assert look(api, dataset, nobody).status_code == 200
    assert api.post(f"{PREFIX}/datasets/{dataset}/check", headers=nobody).status_code == 401


@pytest.mark.parametrize(
    "end",
    [
        "update token set expires_at = now()",
        "update token set revoked_at = now()",
        "update person set state = 'disabled'",
    ],
)
def test_a_token_that_ended_is_no_token(site: SmallSite, api: httpx.Client, end: str) -> None:
    headers = person(site, "tester")
    assert api.get(f"{PREFIX}/datasets", headers=headers).status_code == 200
    site.rows(end)
    assert api.get(f"{PREFIX}/datasets", headers=headers).status_code == 401


def test_a_token_is_good_for_its_scopes_only(site: SmallSite, api: httpx.Client) -> None:
    admin = person(site, "boss", "admin", ("read",))
    assert api.get(f"{PREFIX}/datasets", headers=admin).status_code == 200
    assert api.get(f"{PREFIX}/status", headers=admin).status_code == 403
    writer = person(site, "pipeline", "admin", ("write",))
    assert api.get(f"{PREFIX}/datasets", headers=writer).status_code == 403


def test_a_member_has_the_archive_use_folders_of_groups_only(tmp_path: Path) -> None:
    folder = tmp_path / "proposal"
    (folder / "raw").mkdir(parents=True)
    (folder / "out").symlink_to(tmp_path)
    reads = Person("a", "member", {"2026-1": Membership("reader", str(folder))})
    writes = Person("b", "member", {"2026-1": Membership("writer", str(folder))})

    def use(who: Person, path: Path, *, writing: bool = False) -> Path:
        return confined(str(path), [tmp_path], kind="source", within=usable(who, writing=writing))

    assert use(reads, folder / "raw", writing=True) == use(writes, folder / "raw") == folder / "raw"
    for who, path in ((reads, folder / "raw"), (writes, folder / "out"), (writes, tmp_path), (VISITOR, folder)):
        with pytest.raises(NotAllowed):
            use(who, path)


def test_no_way_to_name_a_folder_leads_into_that_of_another_group(site: SmallSite, api: httpx.Client) -> None:
    marie, admin = person(site, "marie"), person(site, "boss", "admin")
    own, other = site.fill({"a": b"a"}, name="own"), site.fill({"b": b"b"}, name="other")
    group = {"name": "2026-1", "folder": str(own)}
    assert api.post(f"{PREFIX}/groups", json=group, headers=admin).status_code == 201
    member = f"{PREFIX}/groups/2026-1/members/marie"
    assert api.put(member, json={"role": "writer"}, headers=admin).is_success
    (own / "link").symlink_to(other)
    closed, opened = site.archive_folder({"a": b"a"}), site.open_dataset()
    site.rows("update dataset set owner = 'marie', visible_to = visible_to || '{p:marie}'")
    site.drain()
    for path in (other, own / "link"):
        for route, body in (
            ("datasets", {"title": "x", "path": str(path)}),
            (f"datasets/{opened}/fetch", {"path": str(path)}),
            ("requests", {"dataset": closed, "destination": str(path)}),
        ):
            answer = api.post(f"{PREFIX}/{route}", json=body, headers=marie)
            assert (answer.status_code, answer.json()["code"]) == (403, "not-allowed"), (route, path)

# SPDX-License-Identifier: Apache-2.0
"""Sharing a dataset: none gives more than they have, the owner stays, and who else sees it is not everybody's business."""

from __future__ import annotations

from typing import Any

import httpx
from persons import person

from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX


class Asked:
    """Calls about one dataset, and who makes them."""

    def __init__(self, site: SmallSite, api: httpx.Client, *names: str) -> None:
        self.api = api
        self.headers = {name: person(site, name) for name in ("tester", *names)}
        self.dataset = site.archive_folder({"a": b"a"})
        site.drain()

    def __call__(self, who: str, method: str, path: str, /, **body: Any) -> httpx.Response:
        url = f"{PREFIX}/datasets/{self.dataset}{path}"
        return self.api.request(method, url, headers=self.headers[who], json=body or None)

    def share(self, who: str, to: str, role: str = "reader") -> int:
        return self(who, "PUT", f"/grants/{to}", role=role).status_code

    def unshare(self, who: str, to: str) -> int:
        return self(who, "DELETE", f"/grants/{to}").status_code

    def sees(self, who: str) -> bool:
        return self(who, "GET", "").status_code == 200


def test_nobody_gives_or_takes_a_role_above_their_own(site: SmallSite, api: httpx.Client) -> None:
    ask = Asked(site, api, "manager", "writer", "second")
    assert ask.share("writer", "writer") == 404
    for _ in range(2):
        assert ask.share("tester", "manager", "manager") == 200
    assert len(site.events("dataset.shared")) == 1
    assert ask.share("tester", "second", "owner") == 200
    assert ask.share("manager", "writer", "owner") == 403
    assert ask.share("manager", "second", "reader") == 403
    assert ask.unshare("manager", "second") == 403
    assert ask.unshare("manager", "tester") == 409
    assert ask.share("manager", "tester", "reader") == 409
    assert ask.share("manager", "writer", "writer") == 200
    assert ask.share("writer", "second", "reader") == 403
    assert ask("writer", "GET", "/grants").status_code == 403
    assert ask.share("manager", "nobody") == 404
    found = ask("manager", "GET", "/grants").json()
    assert found["owner"] == "tester"
    assert {(item["to"], item["role"], item["granted_by"]) for item in found["grants"]} == {
        ("manager", "manager", "tester"), ("second", "owner", "tester"), ("writer", "writer", "manager"),
    }  # fmt: skip
    for _ in range(2):
        assert ask.unshare("manager", "writer") == 200
    assert not ask.sees("writer")
    assert len(site.events("dataset.unshared")) == 1
    assert ask.share("tester", "manager", "reader") == 200
    assert ask.share("manager", "writer") == 403


def test_a_dataset_is_shared_with_groups_members_and_everyone(site: SmallSite, api: httpx.Client) -> None:
    ask = Asked(site, api, "marie", "stranger")
    ask.headers["nobody"] = {"Authorization": ""}
    ask.headers["admin"] = dict(api.headers)
    api.post(f"{PREFIX}/groups", json={"name": "team", "owner": "tester"})
    api.post(f"{PREFIX}/groups", json={"name": "secret", "owner": "marie"})
    api.put(f"{PREFIX}/groups/team/members/marie", json={"role": "reader"})
    assert ask.share("tester", "group:team", "writer") == 200
    assert ask.sees("marie")
    unknown, hidden = (ask("tester", "PUT", f"/grants/group:{name}", role="reader") for name in ("none", "secret"))
    assert (unknown.status_code, hidden.status_code) == (404, 404), "a group that one is not in is like one that is not"
    assert unknown.text == hidden.text.replace("secret", "none")
    assert ask.share("admin", "group:secret") == 200
    assert ask.share("admin", "group:none") == 404
    assert not ask.sees("stranger")
    assert ask.share("tester", "members", "writer") == 422
    assert ask.share("tester", "members") == 200
    assert (ask.sees("stranger"), ask.sees("nobody")) == (True, False)
    assert ask.share("tester", "everyone") == 200
    assert ask.sees("nobody")
    for whom in ("everyone", "members", "group:team", "group:secret"):
        assert ask.unshare("tester", whom) == 200
    assert [ask.sees(name) for name in ("nobody", "stranger", "marie", "tester")] == [False, False, False, True]


def test_nobody_gives_themselves_what_they_have_by_another_role(site: SmallSite, api: httpx.Client) -> None:
    ask = Asked(site, api, "marie")
    ask.headers["admin"] = dict(api.headers)
    api.post(f"{PREFIX}/groups", json={"name": "team", "owner": "marie"})
    assert ask.share("tester", "group:team") == 404
    assert ask.share("admin", "group:team", "owner") == 200
    for role in ("owner", "manager", "reader"):
        assert ask.share("marie", "marie", role) == 403
    assert ask("marie", "POST", "/give", to="marie").status_code == 403
    assert ask("tester", "POST", "/give", to="tester").status_code == 200, "it is so already"
    assert ask.share("admin", "admin", "reader") == 200
    assert ask.share("admin", "marie", "manager") == 200


def test_a_link_is_good_while_who_made_it_may_make_one(site: SmallSite, api: httpx.Client) -> None:
    ask = Asked(site, api, "marie")
    ask.headers["admin"] = dict(api.headers)
    unknown = api.get(f"{PREFIX}/shared/nothing").text

    def opens(*, by: str) -> str:
        made = ask(by, "POST", "/links", seconds=3600)
        assert made.status_code == 201, made.text
        assert api.get(made.json()["address"]).status_code == 200
        return str(made.json()["address"])

    ask.share("tester", "marie", "manager")
    address = opens(by="marie")
    ask.share("tester", "marie", "writer")
    assert api.get(address).text == unknown
    ask.share("tester", "marie", "manager")
    assert api.get(address).status_code == 200
    ask.unshare("tester", "marie")
    assert api.get(address).text == unknown
    api.post(f"{PREFIX}/groups", json={"name": "team", "owner": "marie"})
    ask.share("admin", "group:team", "owner")
    address, others = opens(by="marie"), [opens(by=name) for name in ("admin", "tester")]
    api.put(f"{PREFIX}/groups/team/members/tester", json={"role": "owner"})
    assert api.delete(f"{PREFIX}/groups/team/members/marie").status_code == 200
    assert api.get(address).text == unknown
    assert [api.get(other).status_code for other in others] == [200, 200]


def test_a_dataset_is_given_to_another_owner(site: SmallSite, api: httpx.Client) -> None:
    ask = Asked(site, api, "marie", "manager")
    ask.share("tester", "manager", "manager")
    ask.share("tester", "marie", "reader")
    assert ask("manager", "POST", "/give", to="manager").status_code == 403
    for wrong, status in (("nobody", 404), ("group:team", 422), ("everyone", 422)):
        assert ask("tester", "POST", "/give", to=wrong).status_code == status
    assert ask("tester", "POST", "/give", to="marie").json()["owner"] == "marie"
    assert [item["to"] for item in ask("marie", "GET", "/grants").json()["grants"]] == ["manager"]
    assert not ask.sees("tester")
    [event] = site.events("dataset.given")
    assert (event.person, event.body) == ("tester", {"to": "marie", "was": "tester"})


def test_p8_who_else_sees_a_dataset_is_told_to_its_owner_and_operators_only(site: SmallSite, api: httpx.Client) -> None:
    ask = Asked(site, api, "marie", "pierre")
    ask.headers["operator"] = person(site, "operator", "operator")
    ask.share("tester", "marie")
    ask.share("tester", "pierre", "writer")
    told = {
        name: [
            event["kind"]
            for event in api.get(f"{PREFIX}/events?limit=1000", headers=ask.headers[name]).json()["items"]
            if event["kind"] == "dataset.shared"
        ]
        for name in ("tester", "marie", "pierre", "operator")
    }
    assert {name: len(kinds) for name, kinds in told.items()} == {"tester": 2, "marie": 0, "pierre": 0, "operator": 2}
    events = api.get(f"{PREFIX}/events?dataset={ask.dataset}", headers=ask.headers["marie"]).text
    assert "dataset.registered" in events
    assert "pierre" not in events


def test_p8_who_reads_a_dataset_is_told_to_who_manages_it_only(site: SmallSite, api: httpx.Client) -> None:
    ask = Asked(site, api, "marie", "pierre", "manager", "leader", "helper")
    ask.headers["operator"] = person(site, "operator", "operator")
    for name, role in (("marie", "reader"), ("pierre", "reader"), ("manager", "manager")):
        ask.share("tester", name, role)
    for group, name in (("team", "leader"), ("helpers", "helper")):
        assert api.post(f"{PREFIX}/groups", json={"name": group, "owner": name}).status_code == 201
    site.rows("update dataset set \"group\" = 'team'")
    shared = api.put(f"{PREFIX}/datasets/{ask.dataset}/grants/group:helpers", json={"role": "manager"})
    assert shared.status_code == 200
    request = api.post(f"{PREFIX}/requests", json={"dataset": ask.dataset}, headers=ask.headers["marie"]).json()["id"]
    api.post(f"{PREFIX}/requests/{request}/priority", json={"priority": 1})  # by somebody else, of what marie asked for
    site.drain()
    assert ask("manager", "POST", "/links", label="x").status_code == 201
    assert ask("tester", "POST", "/release", apply=True).status_code == 202
    site.drain()

    hers = {"request.asked", "request.prioritised", "request.ready"}
    private = {*hers, "link.added", "source.releasing", "source.released", "dataset.shared"}
    told = {}
    for name, headers in ask.headers.items():
        page = api.get(f"{PREFIX}/events?limit=1000", headers=headers).json()["items"]
        assert "dataset.closed" in {item["kind"] for item in page}
        told[name] = private & {item["kind"] for item in page}
    managers = dict.fromkeys(("tester", "manager", "leader", "helper", "operator"), private)
    assert told == {"pierre": set(), "marie": hers, **managers}

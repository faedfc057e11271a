# SPDX-License-Identifier: Apache-2.0
"""Groups and proposals: who says who is in them, up to which role, until when; and whose folders are whose."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import psycopg
from persons import person

from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

HEAD = "proposal,title,folder,person,name,mail,role,from,until\n"


def call(
    api: httpx.Client, method: str, path: str, headers: dict[str, str] | None = None, /, **body: Any
) -> httpx.Response:
    return api.request(method, f"{PREFIX}{path}", headers=headers, json=body or None)


def join(api: httpx.Client, headers: dict[str, str] | None, who: str, role: str, **times: Any) -> int:
    return call(api, "PUT", f"/groups/team/members/{who}", headers, role=role, **times).status_code


def members(api: httpx.Client, group: str, headers: dict[str, str] | None = None) -> dict[str, str]:
    found = call(api, "GET", f"/groups/{group}", headers).json()["members"]
    return {item["person"]: item["role"] for item in found}


def test_managers_say_who_is_in_a_group_up_to_their_own_role(site: SmallSite, api: httpx.Client) -> None:
    who = {name: person(site, name) for name in ("owner", "manager", "writer", "reader", "stranger")}
    operator = person(site, "operator", "operator")
    assert call(api, "POST", "/groups", who["owner"], name="team").status_code == 403
    for _ in range(2):
        made = call(api, "POST", "/groups", operator, name="team", title="The team", owner="owner")
        assert made.status_code == 201, made.text
    assert call(api, "POST", "/groups", operator, name="team", title="Other").status_code == 409
    for name in ("manager", "writer", "reader"):
        for _ in range(2):
            assert join(api, who["owner"], name, name) == 200
    assert len(site.events("group.joined")) == 4
    assert join(api, who["manager"], "stranger", "owner") == 403
    assert join(api, who["manager"], "owner", "reader") == 403
    assert join(api, who["manager"], "stranger", "manager") == 200
    assert join(api, who["manager"], "nobody", "reader") == 404
    assert join(api, who["writer"], "stranger", "reader") == 403
    assert join(api, operator, "operator", "reader") == 403, "operators make groups, and are not in them by that"
    assert members(api, "team", who["manager"])["stranger"] == "manager"
    assert call(api, "GET", "/groups/team", who["reader"]).json()["members"] is None
    assert call(api, "DELETE", "/groups/team/members/owner", who["manager"]).status_code == 403
    assert call(api, "DELETE", "/groups/team/members/owner", who["owner"]).status_code == 409
    assert join(api, None, "owner", "reader") == 409
    for _ in range(2):
        assert call(api, "DELETE", "/groups/team/members/stranger", who["manager"]).status_code == 200
    left = call(api, "DELETE", "/groups/team/members/reader", who["reader"])
    assert (left.status_code, left.json()["members"]) == (200, None)
    assert members(api, "team") == {"owner": "owner", "manager": "manager", "writer": "writer"}


def test_a_role_for_a_time_makes_none_for_longer(site: SmallSite, api: httpx.Client) -> None:
    who = {name: person(site, name) for name in ("owner", "manager", "writer", "other")}
    call(api, "POST", "/groups", name="team", owner="owner")
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(days=1)
    late, soon = (end + timedelta(days=1)).isoformat(), (end - timedelta(hours=1)).isoformat()
    assert join(api, who["owner"], "manager", "manager", until_at=end.isoformat()) == 200
    for name in ("owner", "manager"):
        assert join(api, who[name], name, "manager") == 403, "nobody gives themselves a role"
    site.rows("insert into membership values ('team', 'manager', 'reader', 'office')")  # for ever, but to read only

    def until(name: str) -> str | None:
        found = call(api, "GET", "/groups/team", who["manager"]).json()["members"]
        [ends] = [item["until_at"] for item in found if item["person"] == name]
        return ends and datetime.fromisoformat(ends).isoformat()

    for times in ({}, {"until_at": late}):
        for role in ("manager", "reader"):
            assert join(api, who["manager"], "other", role, **times) == 200
            assert until("other") == end.isoformat()
    assert join(api, who["manager"], "other", "reader", until_at=soon) == 200
    assert until("other") == soon
    for giver in (who["owner"], None):
        assert join(api, giver, "other", "reader", until_at=late) == 200
        assert until("other") == late
        assert join(api, giver, "other", "reader") == 200
        assert until("other") is None


def test_p7_a_group_keeps_an_owner_who_stays_and_can_act(site: SmallSite, api: httpx.Client) -> None:
    who = {name: person(site, name) for name in ("one", "two")}
    call(api, "POST", "/groups", name="team", owner="one")

    def leave(name: str) -> int:
        return call(api, "DELETE", f"/groups/team/members/{name}", who[name]).status_code

    assert join(api, None, "two", "owner", until_at=(datetime.now(UTC) + timedelta(days=1)).isoformat()) == 200
    assert leave("one") == 409, "the other one goes tomorrow"
    assert join(api, None, "two", "owner") == 200
    call(api, "POST", "/people/two/disable", reason="left")
    assert leave("one") == 409
    call(api, "POST", "/people/two/enable")
    who["two"] = person(site, "two")
    blocked = "select 1 from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
    with psycopg.connect(site.archive.database.dsn) as other, ThreadPoolExecutor() as pool:
        other.execute("select from membership for update")  # they have looked, and not left yet
        left = [pool.submit(leave, name) for name in who]
        wait_for(lambda: len(site.rows(blocked)) == len(who), "both leave", patience=10)
        other.commit()
        assert sorted(call.result() for call in left) == [200, 409]


def test_p8_a_group_that_one_is_not_in_is_like_one_that_is_not_there(site: SmallSite, api: httpx.Client) -> None:
    call(api, "POST", "/groups", name="team")
    stranger = person(site, "stranger")
    for method, path in (("GET", ""), ("PUT", "/members/stranger"), ("DELETE", "/members/stranger")):
        known = call(api, method, f"/groups/team{path}", stranger, **({"role": "reader"} if method == "PUT" else {}))
        other = call(api, method, f"/groups/none{path}", stranger, **({"role": "reader"} if method == "PUT" else {}))
        assert (known.status_code, other.status_code) == (404, 404), known.text
        assert known.text.replace("team", "none") == other.text
    assert call(api, "GET", "/groups", stranger).json()["items"] == []
    assert [item["name"] for item in call(api, "GET", "/groups").json()["items"]] == ["team"]


def test_a_membership_is_for_its_time(site: SmallSite, api: httpx.Client) -> None:
    call(api, "POST", "/groups", name="team")
    marie, now = person(site, "marie"), datetime.now(UTC)
    hour = timedelta(hours=1)
    for begins, ends, seen in (
        (None, now + hour, True),
        (now + hour, None, False),
        (now - hour, now - hour / 2, False),
    ):
        times = {"from_at": begins and begins.isoformat(), "until_at": ends and ends.isoformat()}
        assert join(api, None, "marie", "reader", **times) == 200
        assert [item["name"] for item in call(api, "GET", "/groups", marie).json()["items"]] == ["team"] * seen
    assert join(api, None, "marie", "reader", from_at=now.isoformat(), until_at=now.isoformat()) == 422
    assert join(api, None, "marie", "reader", until_at="2026-01-01T00:00:00") == 422, "without a time zone"


def test_a_folder_is_one_groups_and_what_is_archived_from_it_too(site: SmallSite, api: httpx.Client) -> None:
    folder = site.fill({"run1/a": b"a", "run2/a": b"b"}, name="proposal")
    (site.sources / "link").symlink_to(folder)
    marie, pierre = person(site, "marie"), person(site, "pierre")
    assert (
        call(api, "POST", "/groups", name="team", folder=str(site.sources / "link"), owner="marie").status_code == 201
    )
    assert call(api, "POST", "/groups", name="other", folder=str(folder)).status_code == 409
    assert call(api, "POST", "/groups", name="other", owner="marie").status_code == 201
    assert call(api, "POST", "/groups/other/set", folder=str(folder)).status_code == 409
    for wrong in ("relative", "/", "/a\0b"):
        assert call(api, "POST", "/groups/other/set", folder=wrong).status_code == 422
    wish = {"path": str(site.sources / "link/run1"), "title": "t"}
    assert call(api, "POST", "/datasets", pierre, **wish).status_code == 403
    made = call(api, "POST", "/datasets", marie, **wish)
    assert (made.status_code, made.json()["group"]) == (201, "team")
    assert join(api, marie, "pierre", "reader") == 200
    assert call(api, "GET", f"/datasets/{made.json()['id']}", pierre).status_code == 200
    wish = {"path": str(folder / "run2"), "title": "t", "group": "other"}
    assert (
        call(api, "POST", "/datasets", pierre, **wish).status_code == 404
    )  # P8: it is not told that there is such a group
    assert call(api, "POST", "/datasets", **{**wish, "group": "none"}).status_code == 404
    assert call(api, "POST", "/datasets", marie, **wish).json()["group"] == "other"
    changed = call(api, "POST", "/groups/team/set", folder="", title="No folder").json()
    assert (changed["folder"], changed["title"]) == ("", "No folder")


def test_p8_who_only_reads_makes_no_datasets_of_a_group(site: SmallSite, api: httpx.Client) -> None:
    who = {name: person(site, name) for name in ("marie", "writer", "reader")}
    call(api, "POST", "/groups", name="team", owner="marie")
    assert (join(api, who["marie"], "writer", "writer"), join(api, who["marie"], "reader", "reader")) == (200, 200)
    base = site.archive_folder({"a": b"a"}, group="team")
    site.drain()
    site.rows("update dataset set owner = 'marie'")

    def extended(name: str) -> Any:
        answer = call(api, "POST", "/datasets", who[name], title="t", extends=base)
        assert (answer.status_code, answer.json()["extends"]) == (201, base)
        return answer.json()

    def obstacles() -> Any:
        return call(api, "GET", f"/datasets/{base}/deletion", who["marie"]).json()["obstacles"]

    theirs = extended("writer")
    assert theirs["group"] == "team"
    assert theirs["id"] in obstacles()[0]
    assert call(api, "POST", f"/datasets/{theirs['id']}/deletion", action="apply", reason="x").status_code == 200
    own = extended("reader")
    assert own["group"] is None
    assert call(api, "GET", f"/datasets/{own['id']}", who["marie"]).status_code == 404
    refused = call(api, "POST", f"/datasets/{base}/deletion", who["marie"], action="apply", reason="x")
    for told in (obstacles()[0], refused.json()["detail"]):
        assert "Another dataset extends it" in told
        assert own["id"] not in told
    # And the other way round: what one may not see any more is not named.
    assert call(api, "DELETE", "/groups/team/members/reader", who["marie"]).status_code == 200
    for path in (f"/datasets/{own['id']}", "/datasets", "/datasets?q=", f"/events?dataset={own['id']}&limit=1000"):
        answer = call(api, "GET", path, who["reader"])
        assert (answer.status_code, base in answer.text) == (200, False), path
        assert base in call(api, "GET", path).text


def test_a_folder_in_the_folder_of_a_group_may_be_that_of_others(site: SmallSite, api: httpx.Client) -> None:
    folder = site.fill({"run1/a": b"a", "inner/run2/a": b"b", "inner/run3/a": b"b"}, name="proposal")
    pierre, operator = person(site, "pierre"), person(site, "operator", "operator")
    call(api, "POST", "/groups", name="outer", folder=str(folder), owner="pierre")
    call(api, "POST", "/groups", name="inner", folder=str(folder / "inner"), owner="admin")
    groups = [
        call(api, "POST", "/datasets", headers, path=str(folder / path), title="t").json()["group"]
        for headers, path in ((pierre, "run1"), (pierre, "inner/run2"), (operator, "inner/run3"))
    ]
    assert groups == ["outer", None, "inner"]


def proposal(*others: str, **more: Any) -> dict[str, Any]:
    return {
        "title": "Radium", "principal_investigator": {"name": "marie", "title": "Marie Curie"},
        "collaborators": [{"name": name} for name in others], **more,
    }  # fmt: skip


def test_p11_the_user_office_gives_a_proposal_whole_as_often_as_it_likes(site: SmallSite, api: httpx.Client) -> None:
    office = person(site, "office", "admin", ("office",))
    assert call(api, "GET", "/people", office).status_code == 403
    path = "/proposals/2026-1"
    dry = call(api, "PUT", f"{path}?dry_run=true", office, **proposal("pierre")).json()
    assert dry["dry_run"]
    assert call(api, "GET", "/groups/2026-1").status_code == 404
    done = call(api, "PUT", path, office, **proposal("pierre")).json()
    assert done["changes"] == dry["changes"]
    assert len(done["changes"]) == 5
    events = len(site.events())
    assert call(api, "PUT", path, office, **proposal("pierre")).json()["changes"] == []
    assert len(site.events()) == events
    assert call(api, "GET", "/groups/2026-1").json()["kind"] == "proposal"
    assert call(api, "GET", "/people/pierre").json()["credentials"] == []
    marie = person(site, "marie")
    person(site, "postdoc")
    assert call(api, "PUT", "/groups/2026-1/members/postdoc", marie, role="writer").status_code == 200
    assert call(api, "DELETE", "/groups/2026-1/members/pierre", marie).status_code == 409, "the office keeps this one"
    changes = call(api, "PUT", path, office, **proposal("irene", title="Polonium")).json()["changes"]
    assert [change.split()[0] for change in changes] == ["2026-1", "irene", "irene", "pierre"]
    assert members(api, "2026-1") == {"marie": "owner", "irene": "reader", "postdoc": "writer"}
    assert call(api, "PUT", path, office, **proposal("pierre", "pierre")).status_code == 422
    assert call(api, "PUT", path, marie, **proposal()).status_code == 403
    call(api, "POST", "/groups", name="team")
    assert call(api, "PUT", "/proposals/team", office, **proposal()).status_code == 409


def test_the_office_gives_nothing_to_a_name_that_nobody_has_checked(site: SmallSite, api: httpx.Client) -> None:
    wish = {"name": "pierre", "title": "Somebody", "mail": "", "password": "correct horse battery staple"}
    assert call(api, "POST", "/applications", {"Authorization": ""}, **wish).status_code == 202
    site.rows("insert into person (name, site, role, state) values ('irene', 'main', 'member', 'active')")  # admitted
    call(api, "POST", "/groups", name="team")
    assert join(api, None, "pierre", "reader") == 404, "who only applied is nobody yet"
    for name in ("pierre", "irene"):
        refused = call(api, "PUT", "/proposals/2026-1", **proposal(name))
        assert (refused.status_code, f"person approve {name}." in refused.json()["detail"]) == (409, True), refused.text
        answer = table(api, HEAD + f"2026-1,Radium,,marie,,,pi,,\n2026-1,,,{name},,,,,\n")
        assert "Line 2: Nobody has said yet that the account" in answer.json()["detail"]
    assert call(api, "GET", "/groups/2026-1").status_code == 404
    for name in ("pierre", "irene"):
        for _ in range(2):
            assert call(api, "POST", f"/people/{name}/approve").json()["decided_by"] == "admin"
        assert call(api, "PUT", "/proposals/2026-1", **proposal(name)).status_code == 200
    assert [event.body["name"] for event in site.events("person.approved")] == ["pierre", "irene"]


def test_the_highest_of_several_roles_counts(site: SmallSite, api: httpx.Client) -> None:
    call(api, "PUT", "/proposals/2026-1", **proposal("pierre"))
    pierre = person(site, "pierre")
    assert call(api, "GET", "/whoami", pierre).json()["groups"] == [{"group": "2026-1", "role": "reader"}]
    assert call(api, "PUT", "/groups/2026-1/members/pierre", role="manager").status_code == 200
    assert call(api, "GET", "/whoami", pierre).json()["groups"] == [{"group": "2026-1", "role": "manager"}]
    call(api, "PUT", "/proposals/2026-1", **proposal())
    assert call(api, "GET", "/whoami", pierre).json()["groups"] == [{"group": "2026-1", "role": "manager"}]


def table(api: httpx.Client, text: str, *, dry_run: bool = False) -> httpx.Response:
    return call(api, "POST", f"/proposals?dry_run={dry_run}", csv=text)


def test_a_table_of_proposals_is_taken_whole_or_not_at_all(site: SmallSite, api: httpx.Client) -> None:
    good = (
        HEAD + "2026-1,Radium,/data/1,marie,Marie Curie,m@example.org,pi,,\n"
        '2026-1,,,pierre,"Curie, Pierre",,writer,2026-01-01,2026-12-31\n'
        "2026-2,Polonium,,irene,Irène,,pi,,\n"
    )
    assert len(table(api, good, dry_run=True).json()["changes"]) == 8
    assert site.rows('select * from "group"') == []
    assert len(table(api, "\ufeff" + good.replace("\n", "\r\n")).json()["changes"]) == 8
    assert table(api, good).json()["changes"] == []
    [row] = site.rows("select * from membership where person = 'pierre'")
    assert row["until_at"] == datetime(2027, 1, 1, tzinfo=UTC), "the last day counts whole"
    events = len(site.events())
    for text, line, why in (
        ("proposal,title\n", 1, "columns"),
        (good + "2026-3,x,,Otto,,,pi,,\n", 5, "person: "),
        (good + f"2026-3,x,,otto,{'o' * 201},,pi,,\n", 5, "name: "),
        (good + "2026-3,x,,otto,,,reader,,\n", 5, "no line with the role pi"),
        (good + "2026-2,Other,,otto,,,reader,,\n", 5, "another title"),
        (good + "2026-2,,,otto,,,pi,,\n", 5, "principal investigator"),
        (good + "2026-2,,,otto,,,boss,,\n", 5, "role"),
        (good + "2026-2,,,otto,,,reader,soon,\n", 5, "soon"),
        (good + "2026-2,,,otto,,,reader,,9999-12-31\n", 5, "out of range"),
        (good + "2026-2,,,otto,,,reader,2026-02-01,2026-01-01\n", 4, "before joining"),
        (good + "2026-2,,,otto\n", 5, "fields"),
        (good + "2026-2,,,irene,,,reader,,\n", 4, "twice"),
        (good + "2026/3,x,,otto,,,pi,,\n", 5, "pattern"),
        (good + "2026-3,x,/data/1,otto,,,pi,,\n", 5, "folder of group 2026-1"),
    ):
        answer = table(api, text)
        assert answer.status_code == 422, text
        assert f"Line {line}: " in answer.json()["detail"], answer.text
        assert why in answer.json()["detail"], answer.text
    assert len(site.events()) == events

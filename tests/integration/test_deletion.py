# SPDX-License-Identifier: Apache-2.0
"""Deleting: planned first, kept as long as promised, by two persons where the profile says; nothing comes back."""

from __future__ import annotations

import base64
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from answers import forget, rebuild
from click.testing import CliRunner
from psycopg.types.json import Jsonb

from holdfast.catalog.queries import datasets
from holdfast.cli.main import commands
from holdfast.errors import Conflict
from holdfast.services import deletion
from holdfast.services.free import want_release
from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX


def act(api: httpx.Client, dataset: str, action: str = "apply", reason: str = "made by mistake") -> httpx.Response:
    return api.post(f"{PREFIX}/datasets/{dataset}/deletion", json={"action": action, "reason": reason})


def planned(api: httpx.Client, dataset: str) -> Any:
    return api.get(f"{PREFIX}/datasets/{dataset}/deletion").json()


def test_a_deleted_dataset_leaves_a_tombstone_and_no_bytes_and_does_not_come_back(
    site: SmallSite, api: httpx.Client
) -> None:
    dataset = site.archive_folder({"secret.txt": b"secret", "b/c": b"c"})
    other = site.archive_folder({"kept": b"kept"}, name="other")
    site.drain()
    plan = planned(api, dataset)
    assert (plan["files"], plan["packages"], len(plan["tapes"]), plan["obstacles"]) == (2, 1, 2, [])
    assert site.show(dataset).state == "closed"
    assert act(api, dataset, reason=" ").status_code == 422
    for _ in range(2):
        answer = act(api, dataset)
        assert answer.status_code == 200, answer.text
    stone = answer.json()["tombstone"]
    assert (stone["person"], stone["reason"], stone["files"]) == ("admin", "made by mistake", 2)
    assert len(stone["files_sha256"]) == 64
    site.drain()
    found = site.show(dataset)
    assert (found.state, found.availability, found.tombstone) == ("deleted", "unavailable", stone)
    assert [name for name in site.on_tapes() if dataset in name] == []
    assert len([name for name in site.on_tapes() if other in name]) == 2
    assert planned(api, dataset)["tapes"] == []
    assert api.get(f"{PREFIX}/files?name=secret.txt").json()["items"] == []
    assert dataset not in [item["id"] for item in api.get(f"{PREFIX}/datasets").json()["items"]]
    assert len(site.events("dataset.deleted")) == 1
    assert site.staged() == []
    assert (site.sources / "run" / "secret.txt").exists()  # the source is not the archive's
    forget(site)
    assert rebuild(site).datasets == {other}


def test_a_dataset_is_kept_as_long_as_its_profile_promises(site: SmallSite, api: httpx.Client) -> None:
    api.put(f"{PREFIX}/profiles/kept", json={"terms": {"copies": 1, "keep_days": 10}})
    dataset = site.archive_folder({"a": b"a"}, profile="kept")
    site.drain()
    assert planned(api, dataset)["retained_until"]
    answer = act(api, dataset)
    assert answer.status_code == 409
    assert "has to be kept until" in answer.json()["detail"]
    site.rows("update dataset set closed_at = closed_at - interval '11 days'")
    assert act(api, dataset).json()["state"] == "deleted"


def test_days_that_were_wished_for_never_shorten_those_of_the_profile(site: SmallSite, api: httpx.Client) -> None:
    for days in (5, 100):
        api.put(f"{PREFIX}/profiles/days-{days}", json={"terms": {"copies": 1, "keep_days": days}})
    dataset = site.archive_folder({"a": b"a"}, profile="days-5", keep_days=10)
    site.drain()
    assert "as was wished for it" in planned(api, dataset)["obstacles"][0]
    api.post(f"{PREFIX}/datasets/{dataset}/profile", json={"profile": "days-100"})
    site.drain()
    site.rows("update dataset set closed_at = closed_at - interval '11 days'")
    assert "as its profile days-100 says" in act(api, dataset).json()["detail"]
    site.rows("update dataset set closed_at = closed_at - interval '90 days'")
    assert act(api, dataset).json()["state"] == "deleted"


def test_two_persons_delete_where_the_profile_says(
    site: SmallSite, api: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOLDFAST_URL", str(api.base_url).rstrip("/"))
    monkeypatch.setenv("HOLDFAST_TOKEN", site.archive.settings.token_file.read_text().strip())
    api.put(f"{PREFIX}/profiles/two", json={"terms": {"copies": 1, "two_persons": True}})
    dataset = site.archive_folder({"a": b"a"}, profile="two")
    site.drain()
    assert act(api, dataset, "confirm").status_code == 409  # nobody has asked
    asked = act(api, dataset).json()
    assert (asked["state"], asked["asked_by"], asked["tombstone"]) == ("closed", "admin", None)
    assert act(api, dataset, "confirm").status_code == 409  # the same person
    assert act(api, dataset, "withdraw").json()["asked_by"] is None
    assert act(api, dataset, "withdraw").status_code == 200
    act(api, dataset)
    act(api, dataset, reason="another")
    assert planned(api, dataset)["asked_reason"] == "made by mistake"
    told = CliRunner().invoke(commands, ["delete", dataset]).output
    assert "admin asked for it to be deleted: made by mistake\nAnother person" in told, "who confirms has to know what"
    deletion.confirm(site.archive, dataset, person="second")
    assert "by admin and second: made by mistake" in CliRunner().invoke(commands, ["show", dataset]).output
    stone = planned(api, dataset)["tombstone"]
    assert (stone["person"], stone["confirmed_by"]) == ("admin", "second")
    assert act(api, dataset, "withdraw").status_code == 409
    kinds = [event.kind for event in site.events() if event.kind.startswith("dataset.delete")]
    assert kinds == ["dataset.delete-asked", "dataset.delete-withdrawn", "dataset.delete-asked", "dataset.deleted"]


def test_an_open_dataset_goes_at_once_with_what_was_added(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.open_dataset(profile="telescope-products")  # kept for a hundred years, once it is closed
    api.put(f"{PREFIX}/datasets/{dataset}/files/a.fits", content=b"a")
    head = {"Tus-Resumable": "1.0.0", "Upload-Length": "5"}
    half = "dataset " + base64.b64encode(dataset.encode()).decode() + ",filename Yi5oNQ=="
    assert api.post(f"{PREFIX}/uploads", headers={**head, "Upload-Metadata": half}).status_code == 201
    assert act(api, dataset).json()["state"] == "deleted"
    site.drain()
    landing = site.archive.settings.landing_path
    assert [path for path in landing.rglob("*") if path.name != ".incoming"] == []
    assert site.rows("select * from upload") == site.rows("select * from landed") == []
    assert api.put(f"{PREFIX}/datasets/{dataset}/files/b", content=b"b").status_code == 409


def test_what_still_needs_the_copies_stands_in_the_way(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b"a"})
    assert act(api, dataset).status_code == 409  # being surveyed
    site.drain(until=lambda: site.show(dataset).state == "closing")
    assert act(api, dataset).status_code == 409
    site.drain()
    request = site.stage(dataset)
    assert "being brought back" in planned(api, dataset)["obstacles"][0]
    site.drain()
    assert act(api, dataset).status_code == 409
    api.post(f"{PREFIX}/requests/{request}/unstage")
    site.drain()
    want_release(site.archive, dataset, person="tester", apply=True)
    assert "being released" in planned(api, dataset)["obstacles"][0]
    site.drain()
    newer = site.open_dataset(extends=dataset)
    assert newer in planned(api, dataset)["obstacles"][0]
    assert act(api, newer).status_code == 200
    assert act(api, dataset).status_code == 200


def test_a_dataset_that_is_being_deleted_is_not_extended(site: SmallSite) -> None:
    base = site.archive_folder({"a": b"a"})
    site.drain()
    waits = "select 1 from pg_locks where not granted"
    with ThreadPoolExecutor(1) as pool:
        with site.archive.database.transaction() as conn:
            conn.execute("select from dataset where id = %s for update", [base])  # as who deletes it begins
            extending = pool.submit(site.open_dataset, extends=base)
            wait_for(lambda: extending.done() or site.rows(waits), "who extends it waits")
            datasets.move(conn, "delete", to="deleted", id=base, tombstone=Jsonb({}))
        with pytest.raises(Conflict, match="is deleted"):
            extending.result(30)
    assert site.rows("select id from dataset where extends is not null") == []

# SPDX-License-Identifier: Apache-2.0
"""Metadata that a profile wants: a dataset is not closed without them, and does not lose them afterwards."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from test_profiles import change, put

from holdfast.catalog.queries import datasets
from holdfast.errors import InvalidInput
from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

WAITING = "select pid from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
REQUIRED = ["reject number energy", "warn string sample"]


@pytest.fixture(autouse=True)
def _strict(api: httpx.Client) -> None:
    assert put(api, "strict", copies=1, required=REQUIRED).status_code == 200


def say(api: httpx.Client, dataset: str, **wish: Any) -> httpx.Response:
    return api.post(f"{PREFIX}/datasets/{dataset}/metadata", json=wish)


def refuses_to_lose_energy(api: httpx.Client, dataset: str) -> None:
    before = api.get(f"{PREFIX}/datasets/{dataset}/metadata").json()
    for wish in ({"remove": ["energy"]}, {"set": {"energy": "high"}}, {"remove": ["energy"], "set": {"more": 1}}):
        refused = say(api, dataset, **wish)
        assert refused.status_code == 422, wish
        assert "energy" in refused.json()["detail"]
    assert api.get(f"{PREFIX}/datasets/{dataset}/metadata").json() == before


def test_one_made_by_hand_is_not_closed_without_them(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.open_dataset(profile="strict", metadata={"note": "x"})
    url = f"{PREFIX}/datasets/{dataset}"
    assert api.put(f"{url}/files/a", content=b"a").status_code == 201
    for wrong, word in (({}, "missing"), ({"energy": "12 to 14"}, "is a string")):
        assert say(api, dataset, set=wrong).status_code == 200
        refused = api.post(f"{url}/close")
        assert refused.status_code == 422
        assert word in refused.json()["detail"]
    assert say(api, dataset, set={"energy": 12.4}).status_code == 200
    assert say(api, dataset, remove=["energy"]).status_code == 200  # it is open
    assert say(api, dataset, set={"energy": {"value": 12.4, "unit": "keV"}}).status_code == 200
    assert api.post(f"{url}/close").status_code == 202
    (asked,) = site.events("dataset.close-wanted")
    assert asked.body["lacking"] == ["The key sample (string) is missing."]
    refuses_to_lose_energy(api, dataset)  # it is not closed yet
    site.drain()
    assert site.show(dataset).state == "closed"
    refuses_to_lose_energy(api, dataset)
    assert say(api, dataset, set={"energy": 13}, remove=["note"]).status_code == 200


def test_a_folder_is_not_archived_without_them(site: SmallSite, api: httpx.Client) -> None:
    with pytest.raises(InvalidInput, match="energy"):
        site.archive_folder({"a": b"a"}, profile="strict")
    dataset = site.archive_folder({"a": b"a"}, profile="strict", metadata={"energy": 12.4, "sample": "Si"})
    refuses_to_lose_energy(api, dataset)
    site.drain()
    refuses_to_lose_energy(api, dataset)
    assert say(api, dataset, remove=["sample"]).status_code == 200  # only a warning


def test_the_profile_that_counts_is_the_present_one(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b"a"}, profile="strict", metadata={"energy": 12.4})
    site.drain()
    assert put(api, "other", copies=1, required=["reject string operator"]).status_code == 200
    assert change(api, dataset, "other").status_code == 200
    assert say(api, dataset, remove=["energy"]).status_code == 200  # and what was never there is no reason
    assert say(api, dataset, set={"operator": "marie"}).status_code == 200
    assert say(api, dataset, remove=["operator"]).status_code == 422


def test_p7_metadata_change_while_the_profile_does(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"a": b"a"}, profile="strict", metadata={"energy": 12.4})
    site.drain()
    assert put(api, "other", copies=1, required=["reject string sample"]).status_code == 200
    with ThreadPoolExecutor(2) as pool:
        with site.archive.database.transaction() as conn:
            assert datasets.run(conn, "change_profile", id=dataset, profile="other", version=1) == 1
            removed = pool.submit(say, api, dataset, remove=["energy"])
            added = pool.submit(say, api, dataset, set={"n": 1})
            wait_for(lambda: len(site.rows(WAITING)) == 2, "two calls that wait")
        assert {removed.result().status_code, added.result().status_code} == {200}, "the new profile does not want it"
    assert set(api.get(f"{PREFIX}/datasets/{dataset}/metadata").json()["values"]) == {"n"}

# SPDX-License-Identifier: Apache-2.0
"""P1: metadata may change, also of a closed dataset, and every change is kept; what is known is found at once."""

from __future__ import annotations

import base64
import json
import unicodedata
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from test_rights import person

from holdfast.client import Client
from holdfast.errors import Conflict, InvalidInput, NotFound, Refused
from holdfast.services import metadata, planner
from holdfast.services.archive import dataset_row
from holdfast.services.documents import of_dataset, of_document
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX
from holdfast.wire.metadata import MetadataWish

TYPED: dict[str, Any] = {
    "sample": "LaB6", "energy": {"value": 12.4, "unit": "keV"}, "n": 3, "ok": True, "start": {"date": "2026-03-01T10:00:00Z"},
    "logo": {"binary": base64.b64encode(bytes(range(256))).decode()}, "größe \U0001f600": "測定",
}  # fmt: skip


@pytest.fixture
def client(site: SmallSite, api: httpx.Client) -> Iterator[Client]:
    with Client(str(api.base_url), site.archive.settings.token_file.read_text().strip()) as made:
        yield made


def found(client: Client, query: str) -> list[str]:
    return [item.id for item in client.search(query)]


def test_typed_values_go_in_and_come_back_and_are_found(site: SmallSite, client: Client) -> None:
    dataset = site.archive_folder({"a": b"a"}, metadata={"sample": "Si"})
    site.drain()
    assert site.show(dataset).state == "closed"
    answer = client.change_metadata(dataset, TYPED)
    assert answer.values == TYPED
    assert answer.version == 1
    assert client.change_metadata(dataset, TYPED).version == 1  # P11
    assert client.dataset(dataset).metadata == TYPED
    for query in (
        "sample = 'LaB6'",
        "energy > 12000 eV",
        "n = 3 AND ok = TRUE",
        "start = '2026-03-01'",
        "測定",
        "logo IS NOT NULL",
    ):
        assert found(client, query) == [dataset], query
    for query in ("sample = 'Si'", "energy > 13 keV", "energy > 12", "ok = FALSE", "owner = 'nobody'"):
        assert found(client, query) == [], query


def test_p1_every_change_is_kept_with_who_and_when(site: SmallSite, api: httpx.Client, client: Client) -> None:
    dataset = site.archive_folder({"a": b"a"}, metadata={"sample": "Si", "n": 1})
    owner = person(site, "tester")
    url = f"{PREFIX}/datasets/{dataset}/metadata"
    first = api.get(url, headers=owner).json()
    assert (first["version"], first["origins"]) == (0, {})
    api.post(url, headers=owner, json={"set": {"n": 2, "sample": "Si"}})
    api.post(url, headers=owner, json={"set": {"x": 1}, "remove": ["sample"]})
    changes = [(c.version, c.person, c.key, c.old, c.new) for c in client.metadata_history(dataset)]
    assert changes == [(2, "tester", "x", None, 1), (2, "tester", "sample", "Si", None), (1, "tester", "n", 1, 2)]
    assert [c.key for c in client.metadata_history(dataset, key="n")] == ["n"]
    assert [c.key for c in metadata.history(site.archive, dataset, key=None, before=(2, "x"), limit=9).items] == [
        "sample",
        "n",
    ]
    told = site.events("dataset.metadata-changed")
    assert [(event.person, event.body["keys"], event.body["version"]) for event in told] == [
        ("tester", ["n"], 1), ("tester", ["sample", "x"], 2)]  # fmt: skip
    assert client.metadata(dataset).origins["n"].person == "tester"
    assert client.metadata(dataset).sha256 != first["sha256"]


def test_a_list_leaves_out_the_values_that_are_long(site: SmallSite, api: httpx.Client) -> None:
    long = {"text": "x" * 1001, "quantity": {"value": 1, "unit": "keV"}, "limit": "y" * 1000}
    dataset = site.archive_folder({"a": b"a"}, metadata=long)
    owner = person(site, "tester")
    [listed] = api.get(f"{PREFIX}/datasets", headers=owner).json()["items"]
    assert sorted(listed["metadata"]) == ["limit", "quantity"]
    assert api.get(f"{PREFIX}/datasets/{dataset}", headers=owner).json()["metadata"] == long


def test_of_two_who_change_one_version_the_second_is_told(site: SmallSite, client: Client) -> None:
    dataset = site.archive_folder({"a": b"a"})

    def change(number: int) -> str:
        try:
            metadata.change(site.archive, dataset, MetadataWish(set={"n": number}, version=0), person="tester")
        except Conflict as error:
            return error.code
        return "done"

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(change, range(4))) == ["conflict", "conflict", "conflict", "done"]
    with pytest.raises(Refused, match="at version 1 by now, not at 0"):
        client.change_metadata(dataset, {"n": 9}, version=0)


def test_a_change_is_whole_or_not_at_all(site: SmallSite, client: Client) -> None:
    dataset = site.archive_folder({"a": b"a"}, metadata={"n": 1})
    bad: list[dict[str, Any]] = [
        {"energy": {"value": 1, "unit": "parsnip"}},
        {"fits:OBJECT": "x"},
        {"x" * 2000: 1},
        {"t": "y" * 200_000},
    ]
    for values in bad:
        with pytest.raises(Refused) as caught:
            client.change_metadata(dataset, {"n": 2, **values})
        assert caught.value.of == "invalid-input"
    with pytest.raises(Refused, match="kept for what comes"):
        client.change_metadata(dataset, {}, remove=["hdf5:title"])
    assert client.metadata(dataset).values == {"n": 1}
    with pytest.raises(InvalidInput, match="parsnip"):
        site.archive_folder({"a": b"a"}, name="other", metadata={"e": {"value": 1, "unit": "parsnip"}})


def test_many_datasets_are_changed_each_for_itself(site: SmallSite, client: Client) -> None:
    one, two = (site.archive_folder({"a": b"a"}, name=name) for name in ("one", "two"))
    answer = client.change_metadata_of_many(
        {
            one: MetadataWish(set={"n": 1}),
            two: MetadataWish(set={"n": 1}, version=7),
            "0" * 26: MetadataWish(set={"n": 1}),
        }
    )
    assert [item.problem and item.problem.code for item in answer.items] == [None, "conflict", "not-found"]
    assert found(client, "n = 1") == [one]


def test_p8_neither_metadata_nor_search_tell_of_what_one_may_not_see(site: SmallSite, api: httpx.Client) -> None:
    dataset = site.archive_folder({"secret.h5": b"a"}, metadata={"sample": "secret"})
    site.drain()
    stranger, reader = person(site, "stranger"), person(site, "reader")
    for method, route in (("GET", "metadata"), ("POST", "metadata"), ("GET", "metadata/history")):
        known, other = (
            api.request(
                method, f"{PREFIX}/datasets/{ident}/{route}", headers=stranger, json={} if method == "POST" else None
            )
            for ident in (dataset, "0" * 26)
        )
        assert known.status_code == other.status_code == 404
        assert known.text.replace(dataset, "0" * 26) == other.text
    queries = ("sample = 'secret'", "secret", "secr*", "sample LIKE 's%'", "NOT sample = 'x'", "FILE('secret.h5')", "")

    def seen(headers: dict[str, str], query: str) -> Any:
        answer = api.get(f"{PREFIX}/datasets", params={"q": query, "facets": "sample"}, headers=headers).json()
        return len(answer["items"]), answer["count"], answer["facets"]["sample"]

    for query in queries:
        assert seen(stranger, query) == (0, 0, []), query
    site.rows(
        'insert into "grant" (dataset, person, role, granted_by) values (%s, %s, %s, %s)',
        dataset,
        "reader",
        "reader",
        "x",
    )
    for query in queries:
        assert seen(reader, query) == (1, 1, [{"value": "secret", "count": 1}]), query
    assert api.post(f"{PREFIX}/datasets/{dataset}/metadata", headers=reader, json={"set": {"n": 1}}).status_code == 403
    many = api.post(f"{PREFIX}/metadata", headers=reader, json={"changes": {dataset: {"set": {"n": 1}}}}).json()
    assert many["items"][0]["problem"]["code"] == "not-allowed"
    site.rows('delete from "grant"')
    assert seen(reader, "secret") == (0, 0, [])


def test_whatever_changes_a_dataset_changes_what_it_is_found_by(site: SmallSite, client: Client) -> None:
    dataset = site.archive_folder({"a": b"a" * 1000, "sub/b": b"b"}, title="First light")
    site.drain()
    assert found(client, "files = 2 AND bytes > 1000") == [dataset]
    assert found(client, "FILE('b') AND TEXT('light')") == [dataset]
    assert found(client, "created > '2020-01-01' AND created < '2020-01-02'") == []
    site.rows("update dataset set owner = 'marie', title = 'Second'")
    planner.plan(site.archive)
    assert found(client, "owner = 'marie' AND title LIKE 'Sec%'") == [dataset]
    assert found(client, "light") == []
    site.rows("update dataset set state = 'deleted'")
    assert found(client, "") == []
    with pytest.raises(NotFound):
        metadata.current(site.archive, dataset)


def test_texts_and_keys_are_found_however_their_accents_are_typed(site: SmallSite, client: Client) -> None:
    apart = unicodedata.normalize("NFD", "Größe é.h5")  # as macOS types it
    dataset = site.archive_folder(
        {apart: b"a"}, title=unicodedata.normalize("NFD", "Röntgen"), metadata={"größe": "müßig", "g": "x"}
    )
    site.drain()
    for form in ("NFC", "NFD"):
        for query in (
            "größe = 'müßig'", "größe LIKE 'mü%'", "größe > 'mü'", "größe IN ('müßig')", "größe IS NOT NULL",
            "title = 'Röntgen'", "title LIKE 'Rö%'", "TEXT('röntgen')",
        ):  # fmt: skip
            assert found(client, unicodedata.normalize(form, query)) == [dataset], (form, query)
        key = unicodedata.normalize(form, "größe")
        page = client.search_page("", sort=key, facets=[key])
        assert ([item.id for item in page.items], len(page.facets["größe"])) == ([dataset], 1)
    assert found(client, f"FILE('{apart}')") == [dataset]  # the name of a file is its bytes
    assert found(client, "FILE('Größe é.h5')") == []


def test_ids_are_found_by_a_pattern(site: SmallSite, client: Client) -> None:
    dataset = site.archive_folder({"a": b"a"})
    assert found(client, f"id LIKE '{dataset[:6]}%' AND NOT id LIKE 'x%'") == [dataset]
    assert found(client, f"id LIKE '%{dataset[-6:]}'") == [dataset]


def test_pages_counts_facets_and_order(site: SmallSite, client: Client) -> None:
    made = [
        site.archive_folder({"a": b"a"}, name=f"r{n}", title=f"run {n}", metadata={"n": n % 5, "kind": "ab"[n % 2]})
        for n in range(12)
    ]
    page = client.search_page("run", limit=5, facets=["kind"])
    assert (page.count, page.count_exact, len(page.items)) == (12, True, 5)
    assert {item.value: item.count for item in page.facets["kind"]} == {"a": 6, "b": 6}
    for sort in ("", "created", "n", "-n", "title", "-kind"):
        ids, cursor = [], None
        while True:
            page = client.search_page("run", limit=5, sort=sort, cursor=cursor)
            ids += [item.id for item in page.items]
            if (cursor := page.next) is None:
                break
        assert sorted(ids) == sorted(made), sort
        assert sort or ids == made[::-1]
    for sort, cursor in (("n", "xx"), ("n", "W10"), ("", "WyJhIiwgImIiXQ"), ("n", "WyJhIiwgImIiLCAiYyJd")):
        with pytest.raises(Refused) as caught:
            client.search_page("run", sort=sort, cursor=cursor)
        assert caught.value.of == "invalid-input"


def test_a_query_that_cannot_be_read_says_where(api: httpx.Client) -> None:
    answer = api.get(f"{PREFIX}/datasets", params={"q": "energy > 12 keV AND"})
    assert answer.status_code == 422
    assert answer.json()["details"]["place"] == 20
    assert "ends too early" in answer.json()["detail"]
    assert api.get(f"{PREFIX}/datasets", params={"q": "x", "deleted": "true"}).status_code == 422
    assert api.get(f"{PREFIX}/datasets", params={"q": "x LIKE 'a\\'"}).status_code == 422


def test_searches_are_kept_by_each_for_himself(site: SmallSite, api: httpx.Client, client: Client) -> None:
    kept = client.save_search("my runs", "n > 3", sort="-n")
    assert client.saved_search("my runs") == kept
    assert client.save_search("my runs", "n > 4").query == "n > 4"
    assert [item.name for item in client.searches()] == ["my runs"]
    other = person(site, "other")
    assert api.get(f"{PREFIX}/searches", headers=other).json() == {"items": []}
    assert api.get(f"{PREFIX}/searches/my runs", headers=other).status_code == 404
    assert api.delete(f"{PREFIX}/searches/my runs", headers=other).status_code == 404
    with pytest.raises(Refused, match="cannot be read"):
        client.save_search("bad", "n >")
    client.forget_search("my runs")
    assert client.searches() == []
    assert client.save_search("runs/of 2026?", "n > 3") == client.saved_search("runs/of 2026?")
    client.forget_search("runs/of 2026?")
    assert client.searches() == []


def test_p5_typed_metadata_come_back_from_the_tapes(site: SmallSite) -> None:
    dataset = site.archive_folder({"a": b"a"}, metadata=TYPED)
    with site.archive.database.transaction() as conn:
        about = json.loads(of_dataset(conn, dataset_row(conn, dataset))["metadata/dataset.json"])
    assert about["metadata"]["energy"] == {"type": "number", "value": 12.4, "unit": "keV", "source": "tester"}
    assert of_document(about["metadata"]) == TYPED

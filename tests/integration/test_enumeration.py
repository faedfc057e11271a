# SPDX-License-Identifier: Apache-2.0
"""P8: guessing tells nothing: not of datasets, not of persons, not of tokens, not of links."""

from __future__ import annotations

import secrets
import statistics
import time
from collections.abc import Iterator
from typing import Final

import httpx
import pytest
from persons import PASSWORD, person

from holdfast.model.ids import new_id
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

_GUESSES: Final = 40
_SAME: Final = 0.5  # of the median: two ways that differ by less cannot be told apart over a network


@pytest.fixture
def nobody(api: httpx.Client) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=api.base_url, trust_env=False, timeout=30) as client:
        yield client


def told(answer: httpx.Response, *secret: str) -> tuple[int, str, dict[str, str]]:
    """Return all that an answer tells, but what was asked for and when."""
    text = answer.text
    for part in secret:
        text = text.replace(part, "?")
    left_out = {"date", "content-length"}
    return answer.status_code, text, {key: value for key, value in answer.headers.items() if key not in left_out}


def test_p8_ids_of_datasets_tell_nothing_to_who_guesses(
    site: SmallSite, api: httpx.Client, nobody: httpx.Client
) -> None:
    hidden = site.archive_folder({"a": b"a"})
    site.drain()
    stranger = person(site, "stranger")
    asked = api.get(f"{PREFIX}/openapi.json").json()["paths"]
    routes = [(method, path) for path, methods in asked.items() if "{dataset}" in path for method in methods]
    assert len(routes) > 20
    for method, path in routes:
        for headers in (stranger, {}):
            answers = []
            for ident in (hidden, new_id()):
                url = path.replace("{dataset}", ident).replace("{path}", "a")
                answers.append(told(nobody.request(method, url, headers=headers, json={}), ident))
            assert answers[0] == answers[1], (method, path, headers)


def test_p8_tokens_that_are_nearly_right_are_answered_as_any_other(site: SmallSite, nobody: httpx.Client) -> None:
    token = person(site, "marie")["Authorization"].removeprefix("Bearer ")
    site.rows("update token set revoked_at = now() where person = 'marie'")
    guesses = [token, token[:-1], token + "A", "hf_" + secrets.token_urlsafe(32), "x", "hf_"]
    answers = [told(nobody.get(f"{PREFIX}/whoami", headers={"Authorization": f"Bearer {g}"})) for g in guesses]
    assert answers[0][0] == 401
    assert all(answer == answers[0] for answer in answers)


def test_p8_names_of_persons_are_not_told_to_who_logs_in(site: SmallSite, nobody: httpx.Client) -> None:
    person(site, "marie")
    answers = [
        told(nobody.post(f"{PREFIX}/login", json={"name": name, "password": PASSWORD})) for name in ("marie", "nemo")
    ]
    assert answers[0] == answers[1]
    assert answers[0][0] == 401


def test_p8_links_that_nobody_made_are_answered_as_those_that_ended(
    site: SmallSite, api: httpx.Client, nobody: httpx.Client
) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    made = api.post(f"{PREFIX}/datasets/{dataset}/links", json={}).json()
    secret = made["secret"]
    assert nobody.get(f"{PREFIX}/shared/{secret}").status_code == 200
    assert api.delete(f"{PREFIX}/links/{made['id']}").status_code == 200
    answers = [
        told(nobody.get(f"{PREFIX}/shared/{guess}{route}"), guess)
        for guess in (secret, secret[:-1], secrets.token_urlsafe(32))
        for route in ("", "/content/a", "/bundle", "/checksums")
    ]
    assert {answer[0] for answer in answers} == {404}
    assert len({answer[1] for answer in answers}) == 1


def test_p8_ids_of_what_belongs_to_a_hidden_dataset_tell_nothing(
    site: SmallSite, api: httpx.Client, nobody: httpx.Client
) -> None:
    dataset = site.archive_folder({"a": b"a"})
    site.drain()
    stranger = person(site, "stranger")
    link = api.post(f"{PREFIX}/datasets/{dataset}/links", json={}).json()["id"]
    release = api.post(f"{PREFIX}/datasets/{dataset}/release", json={"apply": False}).json()["id"]
    request = site.ask(dataset)
    for method, path, ident in (
        ("DELETE", "/links/{}", link), ("GET", "/links/{}/uses", link), ("GET", "/releases/{}", release),
        ("GET", "/requests/{}", request),
    ):  # fmt: skip
        answers = [
            told(nobody.request(method, PREFIX + path.format(guess), headers=stranger), guess)
            for guess in (ident, new_id())
        ]
        assert answers[0] == answers[1], path
        assert answers[0][0] == 404
        assert dataset not in answers[0][1]
    assert api.get(f"{PREFIX}/links/{link}/uses").status_code == 200


def test_p8_the_time_that_an_answer_takes_does_not_tell_of_a_dataset(site: SmallSite, nobody: httpx.Client) -> None:
    hidden = site.archive_folder({f"{n}": b"a" for n in range(50)})
    site.drain()
    stranger = person(site, "stranger")
    seconds: dict[str, list[float]] = {"hidden": [], "none": []}
    for _ in range(_GUESSES):
        for kind, ident in (("hidden", hidden), ("none", new_id())):
            begun = time.perf_counter()
            assert nobody.get(f"{PREFIX}/datasets/{ident}", headers=stranger).status_code == 404
            seconds[kind].append(time.perf_counter() - begun)
    there, none = (statistics.median(taken) for taken in seconds.values())
    assert abs(there - none) < _SAME * none, (there, none)

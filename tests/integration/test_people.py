# SPDX-License-Identifier: Apache-2.0
"""Logging in, tokens and accounts: who gets in, what a token is good for, and what is never told."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, LiteralString

import httpx
import psycopg
import pytest
from persons import PASSWORD, person
from served import client_of

from holdfast.identity import password
from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

NOBODY = {"Authorization": ""}
OTHER = "another long password"


def post(api: httpx.Client, path: str, headers: dict[str, str] | None = None, **body: Any) -> httpx.Response:
    return api.post(f"{PREFIX}{path}", json=body, headers=headers)


def get(api: httpx.Client, path: str, headers: dict[str, str]) -> httpx.Response:
    return api.get(f"{PREFIX}{path}", headers=headers)


def account(api: httpx.Client, name: str = "marie") -> dict[str, Any]:
    """Have somebody apply and be approved."""
    wish = {"name": name, "title": "Marie Curie", "mail": "marie@example.org", "password": PASSWORD}
    assert post(api, "/applications", NOBODY, **wish).status_code == 202
    assert post(api, f"/people/{name}/approve").status_code == 200
    return wish


def login(api: httpx.Client, secret: str = PASSWORD, name: str = "marie", **more: Any) -> httpx.Response:
    return post(api, "/login", NOBODY, name=name, password=secret, **more)


def bearer(made: httpx.Response) -> dict[str, str]:
    assert made.status_code == 201, made.text
    return {"Authorization": f"Bearer {made.json()['secret']}"}


def told(site: SmallSite) -> str:
    return json.dumps([event.model_dump(mode="json") for event in site.events()])


def test_an_account_is_applied_for_approved_used_and_disabled(site: SmallSite, api: httpx.Client) -> None:
    wish = {"name": "marie", "title": "Marie Curie", "mail": "m@example.org", "reason": "radium", "password": PASSWORD}
    assert post(api, "/applications", NOBODY, **wish).json() == {"name": "marie", "state": "applied"}
    assert post(api, "/applications", NOBODY, **wish).status_code == 409
    assert login(api).status_code == 401
    waiting = api.get(f"{PREFIX}/people", params={"state": "applied"}).json()["items"]
    assert [(item["name"], item["reason"]) for item in waiting] == [("marie", "radium")]
    assert post(api, "/people/marie/enable").status_code == 409
    for _ in range(2):
        assert post(api, "/people/marie/approve").json()["state"] == "active"
    headers = bearer(login(api))
    found = get(api, "/whoami", headers).json()
    assert (found["name"], found["role"], found["token"]["scopes"]) == ("marie", "member", ["read", "write"])
    assert get(api, "/people", headers).status_code == 403
    for _ in range(2):
        assert post(api, "/people/marie/disable", reason="left").json()["reason"] == "left"
    assert get(api, "/whoami", headers).status_code == 401
    assert login(api).status_code == 401
    assert post(api, "/people/marie/approve").status_code == 409
    assert post(api, "/people/marie/enable").json()["state"] == "active"
    assert get(api, "/whoami", headers).status_code == 401, "a token that was revoked stays so"
    assert login(api).status_code == 201
    kinds = [
        event.kind for event in site.events() if event.kind.startswith("person.") and event.body["name"] == "marie"
    ]
    assert kinds == ["person.applied", "person.approved", "person.disabled", "person.enabled"]


def test_unknown_wrong_disabled_and_applied_have_the_same_words(site: SmallSite, api: httpx.Client) -> None:
    account(api)
    post(api, "/applications", NOBODY, name="waits", title="", mail="", password=PASSWORD)
    account(api, "gone")
    post(api, "/people/gone/disable", reason="left")
    person(site, "no-password")
    cases = [("nobody", PASSWORD), ("marie", OTHER), ("gone", PASSWORD), ("waits", PASSWORD), ("no-password", PASSWORD)]
    answers = [login(api, secret, name) for name, secret in cases]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.text for answer in answers}) == 1


def test_an_unknown_name_costs_as_much_as_a_known_one(monkeypatch: pytest.MonkeyPatch, api: httpx.Client) -> None:
    account(api)
    compared: list[str] = []
    verify = password.PasswordHasher.verify

    def counted(self: Any, secret: str, given: bytes) -> bool:
        compared.append(secret)
        return verify(self, secret, given)

    monkeypatch.setattr(password.PasswordHasher, "verify", counted)
    login(api, OTHER)
    login(api, OTHER, "nobody")
    assert len(compared) == 2
    assert len({secret.rpartition("$")[0].rpartition("$")[0] for secret in compared}) == 1  # the same parameters
    assert not password.PasswordHasher().check_needs_rehash(compared[1])  # those of today


def test_a_password_is_as_long_as_it_must_be_and_anything_else(api: httpx.Client) -> None:
    for secret, status in (("x" * 11, 422), ("x" * 12, 202), ("x" * 1024, 202), ("x" * 1025, 422), ("é☃ " * 5, 202)):
        name = f"p{len(secret)}"
        answer = post(api, "/applications", NOBODY, name=name, title="", mail="", password=secret)
        assert answer.status_code == status, secret
        assert secret not in answer.text
    post(api, "/people/p12/approve")
    assert login(api, "x" * 12, "p12").status_code == 201


def test_the_same_letters_are_the_same_password(api: httpx.Client) -> None:
    post(api, "/applications", NOBODY, name="renee", title="", mail="", password="Renée Descartes")
    post(api, "/people/renee/approve")
    assert login(api, "Rene\u0301e Descartes", "renee").status_code == 201


@pytest.mark.parametrize("name", ["Marie", "", "a b", "members", "everyone", "x" * 65, "-a", "a/b", "a:b", "ä", "a\n"])
def test_a_name_that_cannot_be_one(api: httpx.Client, name: str) -> None:
    assert post(api, "/applications", NOBODY, name=name, title="", mail="", password=PASSWORD).status_code == 422
    assert post(api, "/people", name=name).status_code == 422


def test_p8_guesses_are_counted_by_all_processes_together_before_they_are_compared(
    make_site: Callable[..., SmallSite],
) -> None:
    site = make_site(people__attempts=3)
    with client_of(site) as one, client_of(site) as two:
        account(one)
        for _ in range(2):
            assert login(one).status_code == 201  # those that are right do not count
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda api: login(api, OTHER).status_code, [one, two] * 6))
        assert sorted(answers) == [401] * 3 + [429] * 9
        refused = login(two)
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-attempts")
        assert 0 < int(refused.headers["retry-after"]) <= 900
        assert post(two, "/password", NOBODY, name="marie", old=PASSWORD, new=OTHER).status_code == 429
        for _ in range(3):
            assert login(one, OTHER, "nobody").status_code == 401
        assert login(one, OTHER, "nobody").status_code == 429, "a name that nobody has is refused as well"
        [marie, nobody] = site.events("login.failed")
        assert (marie.body["name"], marie.body["attempts"], marie.body["address"]) == ("marie", 3, "127.0.0.1")
        assert nobody.body["name"] is None, "it may be a password that was typed in the wrong place"
        site.rows("update attempt set began_at = now() - interval '1 hour'")
        assert login(one).status_code == 201
        site.rows("update attempt set began_at = now() - interval '1 hour'")
        site.drain()
        assert site.rows("select * from attempt") == []


def test_applications_from_one_address_are_counted(make_site: Callable[..., SmallSite]) -> None:
    with client_of(make_site(people__attempts=2)) as api:
        answers = [
            post(api, "/applications", NOBODY, name=f"a{n}", title="", mail="", password=PASSWORD) for n in range(3)
        ]
        assert [answer.status_code for answer in answers] == [202, 202, 429]


def test_another_password_wants_the_old_one_and_ends_the_other_tokens(site: SmallSite, api: httpx.Client) -> None:
    account(api)
    one, two = bearer(login(api)), bearer(login(api))
    assert post(api, "/password", one, name="marie", old=OTHER, new=OTHER).status_code == 401
    assert post(api, "/password", one, name="marie", old=PASSWORD, new="short").status_code == 422
    assert post(api, "/password", one, name="marie", old=PASSWORD, new=OTHER).status_code == 204
    assert [get(api, "/whoami", headers).status_code for headers in (one, two)] == [200, 401]
    assert login(api).status_code == 401
    assert login(api, OTHER).status_code == 201
    [event] = site.events("person.password-changed")
    assert event.body == {"name": "marie", "tokens": 1}


def test_a_password_that_an_administrator_made_is_good_once(site: SmallSite, api: httpx.Client) -> None:
    assert post(api, "/people", name="pierre", title="Pierre Curie", role="operator").status_code == 201
    assert post(api, "/people", name="pierre", title="Pierre Curie", role="operator").status_code == 201
    assert post(api, "/people", name="pierre", title="Somebody else").status_code == 409
    once = post(api, "/people/pierre/password").json()["password"]
    assert login(api, once, "pierre").json()["code"] == "password-change-needed"
    assert post(api, "/password", NOBODY, name="pierre", old=once, new=once).status_code == 422, (
        "an administrator knows it"
    )
    assert login(api, once, "pierre").json()["code"] == "password-change-needed"
    assert post(api, "/password", NOBODY, name="pierre", old=once, new=PASSWORD).status_code == 204
    assert login(api, once, "pierre").status_code == 401
    headers = bearer(login(api, name="pierre"))
    assert get(api, "/whoami", headers).json()["token"]["scopes"] == ["read", "write", "operate"]
    again = post(api, "/people/pierre/password").json()["password"]
    assert get(api, "/whoami", headers).status_code == 401
    assert login(api, name="pierre").status_code == 401
    site.rows("update credential set once_until = now() - interval '1 second' where person = 'pierre'")
    assert login(api, again, "pierre").json()["code"] == "sign-in-failed"
    assert post(api, "/people/nobody/password").status_code == 404


def test_there_is_always_an_administrator(api: httpx.Client) -> None:
    assert post(api, "/people/admin/set", role="member").status_code == 409
    assert post(api, "/people/admin/disable", reason="x").status_code == 409
    post(api, "/people", name="second", role="admin")
    once = post(api, "/people/second/password").json()["password"]
    assert post(api, "/people/admin/set", role="member").status_code == 409, "the other one may never come"
    assert post(api, "/people/admin/disable", reason="x").status_code == 409
    assert post(api, "/password", NOBODY, name="second", old=once, new=PASSWORD).status_code == 204
    assert post(api, "/people/admin/set", role="operator").json()["role"] == "operator"
    assert api.get(f"{PREFIX}/people").status_code == 403


def test_persons_are_changed_searched_and_listed_in_pages(site: SmallSite, api: httpx.Client) -> None:
    for name in ("c", "a", "b"):
        post(api, "/people", name=name, title=f"Doctor {name.upper()}")
    change = {"title": "Professor B", "mail": "b@example.org", "role": "operator"}
    for _ in range(2):
        assert post(api, "/people/b/set", **change).json()["mail"] == "b@example.org"
    [event] = site.events("person.changed")
    assert event.body == {"name": "b", "changed": change}
    found = api.get(f"{PREFIX}/people", params={"search": "PROF"}).json()["items"]
    assert [item["name"] for item in found] == ["b"]
    first = api.get(f"{PREFIX}/people", params={"limit": 2}).json()
    rest = api.get(f"{PREFIX}/people", params={"limit": 3, "cursor": first["next"]}).json()
    assert [item["name"] for item in first["items"] + rest["items"]] == ["a", "admin", "b", "c"]
    assert post(api, "/people/nobody/set", title="x").status_code == 404


def test_a_token_never_has_more_scopes_than_the_one_that_made_it(site: SmallSite, api: httpx.Client) -> None:
    operator = person(site, "op", "operator", ("read", "write"))
    made = post(api, "/tokens", operator, label="pipeline", scopes=["read"])
    assert made.json()["scopes"] == ["read"]
    assert made.json()["secret"].startswith("hf_")
    assert post(api, "/tokens", operator, scopes=["operate"]).status_code == 403
    assert post(api, "/tokens", operator).json()["scopes"] == ["read", "write"]
    assert post(api, "/tokens", bearer(made)).status_code == 403, "what only reads makes no tokens"
    member = person(site, "member")
    assert post(api, "/tokens", member, scopes=["admin"]).status_code == 403
    assert post(api, "/tokens", member, scopes=["all"]).status_code == 422
    account(api)
    assert login(api, scopes=["admin"]).status_code == 403
    assert get(api, "/whoami", bearer(login(api, scopes=["read"]))).json()["token"]["scopes"] == ["read"]


def test_a_token_lives_as_long_as_it_was_made_for(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(people__token_longest=7200.0, people__token_lifetime=3600.0)
    with client_of(site) as api:
        headers = {"Authorization": api.headers["Authorization"]}  # that of the data folder, which has no end
        assert post(api, "/tokens", headers, lifetime=7201).status_code == 422
        made = post(api, "/tokens", headers, lifetime=7200)
        for answer, seconds in ((made, 7200), (post(api, "/tokens", headers), 3600)):
            [row] = site.rows(
                "select extract(epoch from expires_at - created_at)::int as s from token where id = %s",
                answer.json()["id"],
            )
            assert row["s"] == seconds
        site.rows("update token set expires_at = now() where id = %s", made.json()["id"])
        assert get(api, "/whoami", bearer(made)).status_code == 401
        listed = [item["id"] for item in get(api, "/tokens", headers).json()["items"]]
        assert made.json()["id"] not in listed
        every = get(api, "/tokens?ended=true", headers).json()["items"]
        assert {item["id"]: item["good"] for item in every}[made.json()["id"]] is False


def test_a_token_outlives_that_of_a_login_only(api: httpx.Client) -> None:
    account(api)
    signed_in = login(api)
    made = post(api, "/tokens", bearer(signed_in), lifetime=300 * 86400)
    assert made.json()["expires_at"] > signed_in.json()["expires_at"]
    assert [answer.json()["kind"] for answer in (signed_in, made)] == ["login", "token"]
    first = login(api, lifetime=3600)
    second = post(api, "/tokens", bearer(first))
    third = post(api, "/tokens", bearer(second), lifetime=30 * 86400)
    short = post(api, "/tokens", bearer(second), lifetime=60)
    ends = [answer.json()["expires_at"] for answer in (first, second, third, short)]
    assert ends[0] == ends[1] == ends[2] > ends[3]
    assert post(api, "/tokens", lifetime=30 * 86400).json()["expires_at"] > ends[0], "that of the folder has no end"


def test_tokens_are_seen_and_revoked_by_their_person_and_by_administrators(site: SmallSite, api: httpx.Client) -> None:
    marie, pierre = person(site, "marie"), person(site, "pierre")
    made = post(api, "/tokens", marie, label="beamline")
    get(api, "/whoami", bearer(made))
    [item] = [item for item in get(api, "/tokens", marie).json()["items"] if item["label"] == "beamline"]
    assert item["used_from"] == "127.0.0.1"
    assert item["used_at"]
    assert "secret" not in item
    ident = item["id"]
    refused = post(api, f"/tokens/{ident}/revoke", pierre)
    assert (refused.status_code, refused.json()["detail"]) == (404, f"There is no token {ident}.")
    assert get(api, "/tokens?of=marie", pierre).status_code == 403
    assert len(api.get(f"{PREFIX}/tokens?of=marie").json()["items"]) == 2
    for _ in range(2):
        assert post(api, f"/tokens/{ident}/revoke").json()["good"] is False
    assert len(site.events("token.revoked")) == 1
    assert get(api, "/whoami", bearer(made)).status_code == 401
    assert post(api, "/logout", marie).status_code == 204
    assert get(api, "/whoami", marie).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        "update token set revoked_at = now() where person = 'marie'",
        "update token set expires_at = now() where person = 'marie'",
        "update person set state = 'disabled' where name = 'marie'",
    ],
)
def test_a_token_that_another_server_ended_is_good_for_a_moment_at_most(
    site: SmallSite, api: httpx.Client, change: LiteralString
) -> None:
    marie = person(site, "marie")
    assert get(api, "/whoami", marie).status_code == 200
    with psycopg.connect(site.archive.database.dsn) as other:
        other.execute(change)
    wait_for(lambda: get(api, "/whoami", marie).status_code == 401, "the token has ended", patience=3)


def test_what_this_server_changes_about_somebody_counts_at_once(site: SmallSite, api: httpx.Client) -> None:
    marie = person(site, "marie", "operator")  # the scopes of a token do not grow with the role
    for role in ("member", "operator") * 20:
        assert post(api, "/people/marie/set", role=role).status_code == 200
        assert get(api, "/whoami", marie).json()["role"] == role
        assert get(api, "/status", marie).status_code == (200 if role == "operator" else 403)
    ident = get(api, "/whoami", marie).json()["token"]["id"]
    assert post(api, f"/tokens/{ident}/revoke").status_code == 200
    assert get(api, "/whoami", marie).status_code == 401
    pierre = person(site, "pierre")
    assert get(api, "/whoami", pierre).status_code == 200
    assert post(api, "/people/pierre/disable", reason="left").status_code == 200
    assert get(api, "/whoami", pierre).status_code == 401


def test_the_token_of_the_data_folder_is_as_good_as_the_folder(site: SmallSite, api: httpx.Client) -> None:
    from holdfast.services.people import admit_admin

    [item] = api.get(f"{PREFIX}/tokens").json()["items"]
    assert item["kind"] == "folder"
    assert post(api, f"/tokens/{item['id']}/revoke").status_code == 409
    admit_admin(site.archive, "hf_another")
    assert api.get(f"{PREFIX}/tokens").status_code == 401, "the one before is good no more"
    assert get(api, "/tokens", {"Authorization": "Bearer hf_another"}).status_code == 200


def test_no_secret_is_in_events_or_in_the_catalogue(site: SmallSite, api: httpx.Client) -> None:
    account(api)
    made = login(api)
    once = post(api, "/people/marie/password").json()["password"]
    post(api, "/password", NOBODY, name="marie", old=once, new=OTHER)
    login(api, OTHER, "this is my password oh no")
    rows = site.rows("select table_name as name from information_schema.tables where table_schema = 'public'")
    kept = told(site) + "".join(
        str(site.rows(f'select t::text from "{row["name"]}" t')) for row in rows if row["name"] != "schema_version"
    )
    for secret in (PASSWORD, OTHER, once, made.json()["secret"], "oh no"):
        assert secret not in kept
    assert "marie" in kept


def test_events_about_people_are_for_operators(site: SmallSite, api: httpx.Client) -> None:
    account(api)
    assert get(api, "/events", bearer(login(api))).json()["items"] == []
    assert "person.applied" in get(api, "/events", person(site, "op", "operator")).text

# SPDX-License-Identifier: Apache-2.0
"""What ends with a token that is revoked, and what stays when somebody logs out."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
import pytest
from persons import person

from holdfast.errors import NotSignedIn
from holdfast.model.rights import Person
from holdfast.services.people import admit_admin
from holdfast.services.tokens import another
from holdfast.testing.program import wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX


def made(api: httpx.Client, headers: Mapping[str, str], label: str = "") -> tuple[str, dict[str, str]]:
    answer = api.post(f"{PREFIX}/tokens", json={"label": label}, headers=headers)
    assert answer.status_code == 201, answer.text
    return answer.json()["id"], {"Authorization": f"Bearer {answer.json()['secret']}"}


def good(api: httpx.Client, headers: Mapping[str, str]) -> bool:
    return api.get(f"{PREFIX}/whoami", headers=headers).status_code == 200


def own(api: httpx.Client, headers: Mapping[str, str]) -> str:
    return str(api.get(f"{PREFIX}/whoami", headers=headers).json()["token"]["id"])


def revoke(api: httpx.Client, ident: str, headers: Mapping[str, str]) -> Any:
    answer = api.post(f"{PREFIX}/tokens/{ident}/revoke", headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_was_made_with_a_token_ends_with_it(site: SmallSite, api: httpx.Client) -> None:
    marie = person(site, "marie")
    thief = person(site, "marie")
    first, one = made(api, thief)
    second, two = made(api, one)
    third, three = made(api, two)
    revoked = revoke(api, second, marie)
    assert (revoked["good"], revoked["others"]) == (False, [third])
    assert [good(api, headers) for headers in (thief, one, two, three)] == [True, True, False, False]
    fourth, four = made(api, one)
    _, five = made(api, four)
    assert api.post(f"{PREFIX}/logout", headers=four).status_code == 204
    assert not good(api, four)
    assert good(api, five), "who logs out goes on to use what was made for programs"
    ended = revoke(api, own(api, thief), marie)
    assert len(ended["others"]) == 2, "also what hangs on one that has ended"
    assert first in ended["others"]
    assert fourth not in ended["others"]
    assert not any(good(api, headers) for headers in (thief, one, five))
    assert good(api, marie)
    assert revoke(api, ended["id"], marie)["others"] == []
    events = [event.body["token"] for event in site.events("token.revoked")]
    assert len(events) == len(set(events)) == 6


def test_what_was_made_with_a_token_that_logged_out_ends_when_that_is_revoked(
    site: SmallSite, api: httpx.Client
) -> None:
    marie, other = person(site, "marie"), person(site, "marie")
    ident = own(api, other)
    made_with_it, headers = made(api, other)
    assert api.post(f"{PREFIX}/logout", headers=other).status_code == 204
    assert revoke(api, ident, marie)["others"] == [made_with_it]
    assert not good(api, headers)


def test_what_was_made_with_the_token_of_the_folder_ends_with_it(site: SmallSite, api: httpx.Client) -> None:
    _, headers = made(api, {})
    admit_admin(site.archive, site.archive.settings.token_file.read_text().strip())
    assert good(api, headers)
    admit_admin(site.archive, "hf_another")
    assert not good(api, headers)


def test_a_token_that_is_being_made_is_revoked_as_well(site: SmallSite, api: httpx.Client) -> None:
    marie, other = person(site, "marie"), person(site, "marie")
    ident = own(api, other)
    with psycopg.connect(site.archive.database.dsn) as making, ThreadPoolExecutor(1) as pool:
        making.execute("select from token where id = %s for share", [ident])  # as `hold` does, before it is made
        revoking = pool.submit(revoke, api, ident, marie)
        blocked = "select count(*) as n from pg_stat_activity where wait_event_type = 'Lock' and query like '%%update token%%'"
        wait_for(lambda: site.rows(blocked)[0]["n"] == 1, "it waits")
        making.execute(
            "insert into token (id, person, kind, digest, scopes, made_with) values ('late', 'marie', 'token', 'x', '{read}', %s)",
            [ident],
        )
        making.commit()
        assert revoking.result()["others"] == ["late"]


def test_a_token_that_has_ended_makes_none(site: SmallSite, api: httpx.Client) -> None:
    ident = own(api, person(site, "marie"))
    shown = Person("marie", "member", token=ident)  # as a server remembers it that does not know yet
    revoke(api, ident, {})
    with pytest.raises(NotSignedIn):
        another(site.archive, shown, label="", scopes=["read"], lifetime=None)


def test_no_secret_in_an_address_is_in_the_log(
    site: SmallSite, api: httpx.Client, caplog: pytest.LogCaptureFixture
) -> None:
    site.rows("alter table link_use rename to away")
    site.rows("alter table sign_in rename to gone")
    hangs_up = {"Connection": "close"}
    assert api.get(f"{PREFIX}/shared/a-secret/content/x", headers=hangs_up).status_code == 500
    assert api.post(f"{PREFIX}/login/device/a-secret", headers=hangs_up).status_code == 500
    assert "/shared/***/content/x failed" in caplog.text
    assert "/login/device/*** failed" in caplog.text
    assert "a-secret" not in caplog.text

# SPDX-License-Identifier: Apache-2.0
"""Signing in elsewhere: a real OpenID Connect provider, a real directory, certificates that a proxy checked, and JWTs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from provider import browse, directory, provider
from served import client_of

from holdfast.testing.proxy import free_port
from holdfast.testing.site import SmallSite
from holdfast.web.application import PREFIX

BACK = f"{PREFIX}/login/oidc/back"


@pytest.fixture
def signing(make_site: Callable[..., SmallSite]) -> Iterator[tuple[SmallSite, httpx.Client, str]]:
    """An archive whose people sign in at a provider, a client of nobody, and the provider's address."""
    port = free_port()
    with provider(f"http://127.0.0.1:{port}{BACK}") as issuer:
        site = make_site(
            oidc__issuer=issuer, oidc__client="holdfast", oidc__secret="a-secret-that-only-two-know",
            people__newcomers="admit", people__issuers=f"{issuer}=https://archive.example.org", x509__secret="a proxy's",
            people__claims=f"urn:staff=staff:reader; urn:proposal:*=*:writer; {issuer} /cta=cta:writer; /cta=staff:owner",
        )  # fmt: skip
        with client_of(site, port=port) as client:
            client.headers.pop("Authorization")
            yield site, client, issuer


def jwt_of(issuer: str, scope: str) -> str:
    answer = httpx.post(
        f"{issuer}/token", auth=("pipeline", "a-secret-of-a-pipeline"), trust_env=False,
        data={"grant_type": "client_credentials", "scope": scope, "resource": "https://archive.example.org"},
    )  # fmt: skip
    return str(answer.json()["access_token"])


def whoami(client: httpx.Client, **how: Any) -> Any:
    return client.get(f"{PREFIX}/whoami", **how).json()


def test_somebody_signs_in_with_a_browser(signing: tuple[SmallSite, httpx.Client, str]) -> None:
    site, client, _ = signing
    site.rows("insert into \"group\" (name, site, kind, created_by) values ('staff', 'main', 'group', 'x')")
    end = browse(client, f"{PREFIX}/login/oidc?next=/api/v1/whoami", "Marie.Curie")
    assert end.json()["name"] == "marie.curie"
    assert end.json()["title"] == "Dr Marie.Curie"
    assert end.json()["groups"] == [{"group": "staff", "role": "reader"}]  # a group that is not here is not made
    assert end.json()["token"]["kind"] == "session"
    [cookie] = [item for item in client.cookies.jar if item.name.startswith("holdfast_") and "signing" not in item.name]
    assert cookie.has_nonstandard_attr("HttpOnly")
    browse(client, f"{PREFIX}/login/oidc", "Marie.Curie")
    assert [row["name"] for row in site.rows("select name from person where role = 'member'")] == ["marie.curie"]


def test_a_page_of_somebody_else_changes_nothing(signing: tuple[SmallSite, httpx.Client, str]) -> None:
    _, client, _ = signing
    browse(client, f"{PREFIX}/login/oidc", "marie")
    own = str(client.base_url).rstrip("/")
    for headers, status in (
        ({}, 403), ({"Origin": "https://evil.example"}, 403), ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Origin": own}, 403), ({"Sec-Fetch-Site": "same-origin"}, 201), ({"Origin": own}, 201),
    ):  # fmt: skip
        assert client.post(f"{PREFIX}/tokens", json={}, headers=headers).status_code == status, headers


def test_a_session_that_has_ended_is_no_better_or_worse_than_none(signing: tuple[SmallSite, httpx.Client, str]) -> None:
    site, client, _ = signing
    own = {"Origin": str(client.base_url).rstrip("/")}
    browse(client, f"{PREFIX}/login/oidc", "marie")
    site.rows("update token set revoked_at = now() where kind = 'session'")
    site.archive.database.change = object()
    assert client.get(f"{PREFIX}/datasets").status_code == 200, "of what is public"
    assert client.get(f"{PREFIX}/whoami").status_code == 401
    browse(client, f"{PREFIX}/login/oidc", "marie")
    assert client.post(f"{PREFIX}/logout", headers=own).status_code == 204
    assert not [name for name in client.cookies if name.startswith("holdfast_")]
    said = client.get(BACK, params={"error": "access_denied"}).json()["detail"]
    assert "access_denied" in said


def test_a_link_signs_nobody_in_as_somebody_else(signing: tuple[SmallSite, httpx.Client, str]) -> None:
    _, client, _ = signing
    sent = client.get(f"{PREFIX}/login/oidc")
    [state] = parse_qs(urlsplit(sent.headers["location"]).query)["state"]
    with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as victim:
        assert victim.get(BACK, params={"state": state, "code": "x"}).status_code == 401
    assert client.get(BACK, params={"state": "other", "code": "x"}).status_code == 401
    assert client.get(BACK, params={"state": state, "code": "x"}).status_code == 401  # the provider does not know it
    assert client.get(BACK, params={"state": state, "code": "x"}).status_code == 401  # once only
    for path in ("https://evil.example", "//evil.example", "/\\evil.example"):
        assert client.get(f"{PREFIX}/login/oidc", params={"next": path}).status_code == 422


def test_somebody_signs_in_on_another_device(signing: tuple[SmallSite, httpx.Client, str]) -> None:
    site, client, _ = signing
    begun = client.post(f"{PREFIX}/login/device").json()
    poll = f"{PREFIX}/login/device/{begun['handle']}"
    assert client.post(poll).status_code == 202
    with httpx.Client(trust_env=False, timeout=30) as phone:
        browse(phone, begun["address"], "pierre")
    assert client.post(poll).status_code == 202, "the provider does not want to be asked again so soon"
    site.rows("update sign_in set asked_at = now() - interval '5 seconds'")
    made = client.post(poll, params={"label": "a terminal"}).json()
    assert whoami(client, headers={"Authorization": f"Bearer {made['secret']}"})["name"] == "pierre"
    assert client.post(poll).status_code == 401
    assert client.post(f"{PREFIX}/login/device/nothing").status_code == 401
    browse(client, f"{PREFIX}/login/oidc", "marie")
    assert site.rows("select what, count from attempt") == [{"what": "sign-in", "count": 0}], (
        "who signs in does not count"
    )


def test_a_provider_that_does_not_know_the_archive_is_told_of(
    make_site: Callable[..., SmallSite],
) -> None:
    with provider("http://127.0.0.1:1/back") as issuer:
        site = make_site(oidc__issuer=issuer, oidc__client="holdfast", oidc__secret="another one")
        with client_of(site) as client:
            answer = client.post(f"{PREFIX}/login/device")
    assert (answer.status_code, answer.json()["code"]) == (503, "unreachable")
    assert "client authentication failed" in answer.json()["detail"]


def test_a_secret_may_have_any_characters(make_site: Callable[..., SmallSite]) -> None:
    secret = "a+b%20c:d/e f=&"
    with provider("http://127.0.0.1:1/back", secret) as issuer:
        site = make_site(oidc__issuer=issuer, oidc__client="holdfast", oidc__secret=secret)
        with client_of(site) as client:
            assert client.post(f"{PREFIX}/login/device").status_code == 201


def test_newcomers_are_refused_or_wait_when_the_settings_say_so(
    make_site: Callable[..., SmallSite], tmp_path: Path
) -> None:
    with directory(tmp_path / "ldap") as (addresses, ca):
        site = make_site(
            ldap__url=f"ldaps://{addresses.split()[1]}", ldap__ca=str(ca), ldap__base="dc=example,dc=org",
            ldap__bind_dn="cn=root,dc=example,dc=org", ldap__bind_password="secret-of-root", people__newcomers="apply",
        )  # fmt: skip
        with client_of(site) as admin:
            login = {"name": "marie", "password": "radium and polonium"}
            waits = admin.post(f"{PREFIX}/login", json=login)
            assert (waits.status_code, "waits until an administrator" in waits.json()["detail"]) == (401, True)
            assert admin.post(f"{PREFIX}/people/marie/approve").status_code == 200
            assert admin.post(f"{PREFIX}/login", json=login).status_code == 201
            assert admin.post(f"{PREFIX}/people/marie/disable", json={"reason": "left"}).status_code == 200
            assert admin.post(f"{PREFIX}/login", json=login).status_code == 401


@pytest.mark.parametrize("scheme", ["ldap", "ldaps"])
def test_a_directory_knows_names_and_passwords(
    make_site: Callable[..., SmallSite], tmp_path: Path, scheme: str
) -> None:
    with directory(tmp_path / "ldap") as (addresses, ca):
        site = make_site(
            ldap__url=f"{scheme}://{addresses.split()[scheme == 'ldaps']}", ldap__ca=str(ca), ldap__base="dc=example,dc=org",
            ldap__bind_dn="cn=root,dc=example,dc=org", ldap__bind_password="secret-of-root", people__newcomers="admit",
            people__claims="cn=staff,dc=example,dc=org=staff:writer", people__attempts=100,
        )  # fmt: skip
        site.rows("insert into \"group\" (name, site, kind, created_by) values ('staff', 'main', 'group', 'x')")
        with client_of(site) as client:
            made = client.post(f"{PREFIX}/login", json={"name": "marie", "password": "radium and polonium"}).json()
            me = whoami(client, headers={"Authorization": f"Bearer {made['secret']}"})
            assert (me["name"], me["mail"], me["groups"]) == (
                "marie", "marie@example.org", [{"group": "staff", "role": "writer"}],
            )  # fmt: skip
            for name, password in (
                ("marie", "wrong"),
                ("marie", ""),
                ("*", "x"),
                ("marie)(uid=*", "x"),
                ("nobody", "x"),
            ):
                assert client.post(f"{PREFIX}/login", json={"name": name, "password": password}).status_code == 401
    with client_of(site) as client:  # it is away
        assert client.post(f"{PREFIX}/login", json={"name": "pierre", "password": "x"}).status_code == 503


def test_a_jwt_of_a_trusted_issuer_is_a_token(signing: tuple[SmallSite, httpx.Client, str]) -> None:
    site, client, issuer = signing
    token = partial(jwt_of, issuer)
    reads = {"Authorization": f"Bearer {token('storage.read:/')}"}
    assert client.get(f"{PREFIX}/datasets", headers=reads).status_code == 200
    assert whoami(client, headers=reads)["token"] is None
    assert client.post(f"{PREFIX}/datasets", headers=reads, json={"path": "/x", "title": "t"}).status_code == 403
    writes = token("storage.read:/ storage.modify:/")
    made = client.post(
        f"{PREFIX}/tokens", headers={"Authorization": f"Bearer {writes}"}, json={"lifetime": 86400}
    ).json()
    claims = jwt.decode(writes, options={"verify_signature": False})
    assert datetime.fromisoformat(made["expires_at"]).timestamp() == claims["exp"]
    partly = {"Authorization": f"Bearer {token('storage.read:/one/path')}"}
    assert client.get(f"{PREFIX}/datasets", headers=partly).status_code == 403
    good = token("storage.read:/")
    head, body, signature = good.split(".")
    for bad in (
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"eyJhbGciOiJub25lIn0.{body}.",
        f"{head}.eyJpc3MiOiJ4In0.{signature}",
        "ey.ey.ey",
    ):
        assert client.get(f"{PREFIX}/datasets", headers={"Authorization": f"Bearer {bad}"}).status_code == 401
    assert site.rows("select kind from credential") == [{"kind": "jwt"}]


def standing(client: httpx.Client, headers: dict[str, str]) -> dict[str, str]:
    return {item["group"]: item["role"] for item in whoami(client, headers=headers)["groups"]}


def test_what_one_claims_of_groups_another_does_not_change(signing: tuple[SmallSite, httpx.Client, str]) -> None:
    site, client, issuer = signing
    admin = {"Authorization": f"Bearer {site.archive.settings.token_file.read_text().strip()}"}
    for name in ("staff", "cta"):
        assert client.post(f"{PREFIX}/groups", headers=admin, json={"name": name}).status_code == 201
    browse(client, f"{PREFIX}/login/oidc", "marie")
    secret = client.post(f"{PREFIX}/tokens", json={}, headers={"Sec-Fetch-Site": "same-origin"}).json()["secret"]
    client.cookies.clear()
    oidc = {"Authorization": f"Bearer {secret}"}
    for kind, of, subject in (("jwt", issuer, "pipeline"), ("x509", "CN=CA", "CN=marie")):
        wish = {"kind": kind, "issuer": of, "subject": subject}
        found = client.post(f"{PREFIX}/people/marie/credentials", headers=admin, json=wish).json()["items"]
    assert standing(client, oidc) == {"staff": "reader"}
    events = len(site.events())
    for _ in range(2):
        assert standing(client, {"Authorization": f"Bearer {jwt_of(issuer, 'storage.read:/')}"}) == {
            "staff": "reader", "cta": "writer",
        }  # fmt: skip
    assert len(site.events()) == events
    names = {"X-Proxy-Secret": "a proxy's", "X-SSL-Client-S-DN": "CN=marie", "X-SSL-Client-I-DN": "CN=CA"}
    made = client.post(f"{PREFIX}/login/certificate", headers=names).json()
    assert standing(client, {"Authorization": f"Bearer {made['secret']}"}) == {"staff": "reader"}
    [ident] = [item["id"] for item in found if item["kind"] == "oidc"]
    assert client.delete(f"{PREFIX}/people/marie/credentials/{ident}", headers=admin).status_code == 200
    assert standing(client, oidc) == {}


def test_newcomers_get_no_name_that_has_rights(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(x509__secret="between the proxy and us", people__newcomers="admit")
    dataset = site.archive_folder({"a": b"a"})  # of somebody who has no account any more
    site.rows("insert into \"grant\" (dataset, person, role, granted_by) values (%s, 'pierre', 'reader', 'x')", dataset)
    proxy = {"X-Proxy-Secret": "between the proxy and us", "X-SSL-Client-I-DN": "CN=Some CA,C=FR"}
    with client_of(site) as client:
        for name in ("tester", "pierre", "everyone"):
            headers = {**proxy, "X-SSL-Client-S-DN": f"CN={name},C=FR"}
            made = client.post(f"{PREFIX}/login/certificate", headers=headers).json()
            assert made["person"] == f"{name}-2"
            wish = {"name": name, "title": "", "mail": "", "password": "correct horse battery staple"}
            assert client.post(f"{PREFIX}/applications", json=wish).status_code == (422 if name == "everyone" else 409)
        assert client.post(f"{PREFIX}/people", json={"name": "pierre"}).status_code == 201  # who knows whose it is


def test_a_certificate_counts_only_from_the_proxy(make_site: Callable[..., SmallSite]) -> None:
    site = make_site(x509__secret="between the proxy and us", people__newcomers="admit")
    names = {"X-SSL-Client-S-DN": "CN=Marie Curie,O=Radium,C=FR", "X-SSL-Client-I-DN": "CN=Some CA,C=FR"}
    with client_of(site) as client:
        for headers in ({}, {"X-Proxy-Secret": "guess"}):
            assert client.post(f"{PREFIX}/login/certificate", headers={**names, **headers}).status_code == 401
        proxy = {"X-Proxy-Secret": "between the proxy and us"}
        assert client.post(f"{PREFIX}/login/certificate", headers=proxy).status_code == 401  # no certificate
        made = client.post(f"{PREFIX}/login/certificate", headers={**names, **proxy}).json()
        assert made["person"] == "marie.curie"
        # Another way to be recognised as the same person, because an administrator says so.
        wish = {"kind": "oidc", "issuer": "https://idp.example", "subject": "42"}
        assert len(client.post(f"{PREFIX}/people/marie.curie/credentials", json=wish).json()["items"]) == 2
        assert client.post(f"{PREFIX}/people/admin/credentials", json=wish).status_code == 409
        [first, _] = client.get(f"{PREFIX}/people/marie.curie/credentials").json()["items"]
        assert len(client.delete(f"{PREFIX}/people/marie.curie/credentials/{first['id']}").json()["items"]) == 1
    nobody = make_site()
    with client_of(nobody) as client:
        assert client.post(f"{PREFIX}/login/certificate", headers={**names, "X-Proxy-Secret": ""}).status_code == 401

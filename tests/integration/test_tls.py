# SPDX-License-Identifier: Apache-2.0
"""TLS of our own, with certificates that OpenSSL made: who shows a good one is the person, all others are refused."""

from __future__ import annotations

import logging
import socket
import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

import httpx
import pytest
from authority import Authority, openssl
from served import served

from holdfast.client import Client
from holdfast.errors import Refused, SettingsError, Unreachable
from holdfast.identity.certificate import common_name, names_in
from holdfast.testing.program import Up, wait_for
from holdfast.testing.site import SmallSite
from holdfast.web.tls import serving

MARIE: Final = "/C=FR/O=Radium/CN=Marie Curie"
PREFIX: Final = "/api/v1"


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path, "ours")


@pytest.fixture
def secured(make_site: Callable[..., SmallSite], authority: Authority) -> Callable[..., SmallSite]:
    """A function that makes an archive that serves by https."""
    file = str(authority.issue("/CN=127.0.0.1", server=True))
    return lambda **more: make_site(
        web__certificate=file, web__client_ca=str(authority.file), people__newcomers="admit", **more
    )


@pytest.mark.parametrize(
    "subject",
    [
        MARIE,
        r"/DC=org/DC=terena/O=A\, B+OU=# quoted \"x\" /CN=Renée Ünal \+ <1>;/emailAddress=r@example.org/UID=12",
        "/CN=x/eppn=rené@example.org/organizationIdentifier=VAT-1/GN= René/SN=Ü/serialNumber=7",
        r"/O=No name\\",
    ],
)
def test_names_are_as_proxies_write_them(authority: Authority, subject: str) -> None:
    file = authority.issue(subject)
    told = openssl("x509", "-in", file, "-noout", "-subject", "-issuer", "-nameopt", "RFC2253", at=file.parent)
    assert told.splitlines() == [
        f"{key}={name}" for key, name in zip(("subject", "issuer"), names_in(file.read_text()), strict=True)
    ]


def test_a_certificate_that_cannot_be_read_names_nobody() -> None:
    assert names_in("-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n") == ("", "")


@pytest.mark.parametrize(
    ("name", "common"),
    [
        (r"CN=Ren\C3\A9e \+ x,O=y", "Renée + x"),
        ("/C=FR/CN=Marie/O=x", "Marie"),
        (r"O=a\, CN=b,CN=c", "c"),
        ("O=x", ""),
        ("C=FR, CN=Marie", "Marie"),
    ],
)
def test_the_common_name_is_found_in_a_name(name: str, common: str) -> None:
    assert common_name(name) == common


def test_a_certificate_of_the_connection_is_the_person(secured: Callable[..., SmallSite], authority: Authority) -> None:
    site = secured(x509__secret="between the proxy and us")
    ca, marie = str(authority.file), str(authority.issue(MARIE))
    with served(site) as port:
        url = f"https://127.0.0.1:{port}"
        with Client(url, ca=ca, certificate=marie) as client:
            made = client.login_by_certificate(label="at work")
        assert made.person == "marie.curie"
        with Client(url, made.secret, ca=ca) as client:
            assert client.whoami().name == "marie.curie"

        # Who shows none is a visitor: what is public, and no more.
        with Client(url, ca=ca) as visitor:
            assert list(visitor.datasets()) == []
            with pytest.raises(Refused, match="You sent no certificate"):
                visitor.login_by_certificate()
            with pytest.raises(Refused, match="needs a token"):
                visitor.whoami()

        # Headers of a proxy are not believed of anybody else, and with a proxy its own certificate says nothing.
        context = ssl.create_default_context(cafile=ca)
        names = {"X-SSL-Client-S-DN": "CN=Pierre,O=Radium,C=FR", "X-SSL-Client-I-DN": "CN=ours,DC=org"}
        with httpx.Client(base_url=url, verify=context, trust_env=False) as http:
            for more in ({}, {"X-Proxy-Secret": "guess"}, {"X-Proxy-Secret": ""}):
                assert http.post(f"{PREFIX}/login/certificate", headers={**names, **more}).status_code == 401
        context.load_cert_chain(marie)
        with httpx.Client(base_url=url, verify=context, trust_env=False) as http:
            answer = http.post(f"{PREFIX}/login/certificate", headers=names)
            assert answer.json()["person"] == "marie.curie"  # as the connection says
            good = {"X-Proxy-Secret": "between the proxy and us"}
            assert http.post(f"{PREFIX}/login/certificate", headers=good).status_code == 401
            # The same certificate behind a proxy is the same person.
            told = dict(zip(names, names_in(Path(marie).read_text()), strict=True))
            answer = http.post(f"{PREFIX}/login/certificate", headers={**told, **good})
            assert answer.json()["person"] == "marie.curie"
    assert site.rows("select kind, subject, issuer from credential where kind = 'x509'") == [
        {"kind": "x509", "subject": "CN=Marie Curie,O=Radium,C=FR", "issuer": "CN=ours,DC=org"}
    ]


def test_other_certificates_are_refused_by_the_connection(
    secured: Callable[..., SmallSite], authority: Authority, tmp_path: Path
) -> None:
    site = secured()
    ca = str(authority.file)
    other = Authority(tmp_path, "theirs")
    same_name = Authority(tmp_path / "theirs", "ours")
    with served(site) as port:
        url = f"https://127.0.0.1:{port}"
        for bad in (
            other.issue(MARIE),
            same_name.issue(MARIE),
            authority.issue(MARIE, days=-1),
            authority.issue(MARIE, server=True),
        ):
            with Client(url, ca=ca, certificate=str(bad)) as client, pytest.raises(Unreachable, match="believe your"):
                client.login_by_certificate()
        # And this server is not believed by those who do not know its authority, nor by old versions of TLS.
        with Client(url, ca=str(other.file)) as client, pytest.raises(SettingsError, match="HOLDFAST_CA"):
            client.status()
        for version, done in (("-tls1_1", 1), ("-tls1_2", 0), ("-tls1_3", 0)):
            tried = ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", version, "-cipher", "DEFAULT:@SECLEVEL=0"]
            assert subprocess.run(tried, check=False, capture_output=True, stdin=subprocess.DEVNULL).returncode == done
    assert site.rows("select kind from credential where kind = 'x509'") == []


def test_without_an_authority_no_certificate_is_asked_for(
    make_site: Callable[..., SmallSite], authority: Authority
) -> None:
    site = make_site(web__certificate=str(authority.issue("/CN=x", server=True)), people__newcomers="admit")
    with (
        served(site) as port,
        Client(f"https://127.0.0.1:{port}", ca=str(authority.file), certificate=str(authority.issue(MARIE))) as client,
        pytest.raises(Refused, match="You sent no certificate"),
    ):
        client.login_by_certificate()


@pytest.mark.parametrize("scheme", ["https", "HTTPS", "Https"])
def test_whom_nobody_believes_is_told_no_password(
    secured: Callable[..., SmallSite], authority: Authority, scheme: str
) -> None:
    with served(secured()) as port:
        with Client(f"{scheme}://127.0.0.1:{port}") as stranger, pytest.raises(SettingsError, match="is not believed"):
            stranger.login("marie", "correct horse battery staple")
        with Client(f"{scheme}://127.0.0.1:{port}", ca=str(authority.file)) as known, pytest.raises(Refused):
            known.login("marie", "correct horse battery staple")


@pytest.mark.parametrize("token", ["hf_secret\n", "hf_secr\u00e9t", "hf secret"])
def test_what_is_no_token_is_refused_and_not_repeated(token: str) -> None:
    with pytest.raises(SettingsError) as error:
        Client("http://127.0.0.1:1", token)
    assert "secr" not in error.value.sentence


def test_files_that_are_no_certificates_are_told(make_site: Callable[..., SmallSite], authority: Authority) -> None:
    good = authority.issue("/CN=x", server=True)
    locked = good.with_suffix(".locked")
    openssl("pkey", "-in", good, "-aes128", "-passout", "pass:secret", "-out", locked, at=authority.folder)
    for settings, says in (
        ({"client_ca": str(authority.file)}, "need web.certificate"),
        ({"certificate": str(good), "client_crl": "/no/such.pem"}, "web.client_crl needs web.client_ca"),
        ({"certificate": "/no/such.pem"}, r"web.certificate, web.key: /no/such.pem cannot be used: .*No such file"),
        ({"certificate": str(good), "key": str(authority.folder / "ca.key")}, "cannot be used"),
        ({"certificate": str(authority.folder / "0.crt"), "key": str(locked)}, "without a password"),
        ({"certificate": str(good), "client_ca": "/no/such.pem"}, "web.client_ca: /no/such.pem cannot be used"),
        ({"certificate": str(good), "client_ca": str(authority.folder / "ca.key")}, "web.client_ca"),
        (
            {"certificate": str(good), "client_ca": str(authority.file), "client_crl": str(authority.file)},
            r"web.client_crl: .* has no revocation list",
        ),
    ):
        site = make_site(**{f"web__{key}": value for key, value in settings.items()})
        with pytest.raises(SettingsError, match=says):
            serving(site.archive.settings.web)
    for how, says in (({"ca": "/no/such.pem"}, "authorities in /no/such.pem"), ({"certificate": "/no.pem"}, "/no.pem")):
        with pytest.raises(SettingsError, match=says):
            Client("https://127.0.0.1:1", **how)


def test_a_renewed_certificate_is_used_at_once_and_cuts_no_connection(
    make_site: Callable[..., SmallSite], authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = Authority(tmp_path, "others")
    old, new = (maker.issue("/CN=127.0.0.1", server=True).read_text() for maker in (authority, other))
    file = tmp_path / "server.pem"
    file.write_text(old)
    site = make_site(web__certificate=str(file))

    def asked(maker: Authority, name: str | None = None) -> bool:
        """Say whether the server is believed; also those are served who do not say whom they call (SNI)."""
        context = ssl.create_default_context(cafile=str(maker.file))
        context.check_hostname = False
        with socket.create_connection(("127.0.0.1", port)) as plain:
            try:
                context.wrap_socket(plain, server_hostname=name).close()
            except ssl.SSLCertVerificationError:
                return False
        return True

    with served(site) as port, Client(f"https://127.0.0.1:{port}", ca=str(authority.file)) as before:
        assert list(before.datasets()) == []
        for broken in (new[:300], new[: new.index("-----BEGIN PRIVATE")], new[:-60], ""):
            file.write_text(broken)
            assert asked(authority)
            assert asked(authority, "archive.example.org")
        file.unlink()
        assert asked(authority)
        told = [record.message for record in caplog.records if record.name == "holdfast.web.tls"]
        assert told
        assert len(told) == len(set(told))
        assert all("cannot be used" in message and "used as they were before" in message for message in told)
        file.write_text(new)
        wait_for(lambda: asked(other), "what could not be used is tried again")
        assert asked(other, "archive.example.org")
        assert not asked(authority)
        assert list(before.datasets()) == []  # on the connection that it has


def test_a_revoked_certificate_is_refused(
    secured: Callable[..., SmallSite], authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    lists = tmp_path / "lists.pem"
    lists.write_text(authority.revoke())
    site = secured(web__client_crl=str(lists))
    marie, pierre = (str(authority.issue(subject)) for subject in (MARIE, "/C=FR/O=Radium/CN=Pierre Curie"))
    with served(site) as port:

        def admitted(certificate: str | None) -> bool:
            with Client(f"https://127.0.0.1:{port}", ca=str(authority.file), certificate=certificate) as client:
                try:
                    return list(client.datasets()) == []
                except Unreachable:
                    return False

        assert admitted(marie)
        assert admitted(pierre)
        again = authority.revoke(Path(marie))
        lists.write_text(again * 2)  # some programs write each list twice
        assert not admitted(marie)
        assert admitted(pierre)
        assert admitted(None)
        assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
        # A list that is out of date says nothing of what was revoked since.
        lists.write_text(authority.revoke(until="20200201000000Z"))
        assert not admitted(pierre)
        assert admitted(None)
        lists.write_text(Authority(tmp_path, "others").revoke())
        assert not admitted(pierre)
        told = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert [message.split(": ")[1] for message in told] == [
            f"the list of CN=ours,DC=org in {lists} was good until 2020-02-01 00:00 UTC",
            f"{lists} has no list of CN=ours,DC=org",
        ]
        lists.write_text(authority.revoke())
        assert admitted(pierre)
        assert not admitted(marie)


@pytest.mark.parametrize(("version", "resumed"), [(ssl.TLSVersion.TLSv1_2, True), (ssl.TLSVersion.TLSv1_3, False)])
def test_a_session_ends_with_the_certificate_that_began_it(
    secured: Callable[..., SmallSite],
    authority: Authority,
    tmp_path: Path,
    version: ssl.TLSVersion,
    *,
    resumed: bool,
) -> None:
    lists = tmp_path / "lists.pem"
    lists.write_text(authority.revoke())
    marie = authority.issue(MARIE)
    context = ssl.create_default_context(cafile=str(authority.file))
    context.minimum_version = context.maximum_version = version
    context.load_cert_chain(marie)
    with served(secured(web__client_crl=str(lists))) as port:

        def asked(session: ssl.SSLSession | None = None) -> tuple[ssl.SSLSession | None, bool | None]:
            with (
                socket.create_connection(("127.0.0.1", port)) as plain,
                context.wrap_socket(plain, server_hostname="127.0.0.1", session=session) as sock,
            ):
                sock.sendall(f"GET {PREFIX}/health HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                if not sock.recv(4096).startswith(b"HTTP/1.1 200"):
                    raise ConnectionResetError
                return sock.session, sock.session_reused

        session, _ = asked()
        assert asked(session)[1] is resumed
        lists.write_text(authority.revoke(marie))
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            asked(session)


def test_another_authority_is_believed_at_once(
    secured: Callable[..., SmallSite], authority: Authority, tmp_path: Path
) -> None:
    other = Authority(tmp_path, "others")
    marie, ours = str(other.issue(MARIE)), authority.file.read_text()
    with served(secured()) as port:
        url = f"https://127.0.0.1:{port}"
        believed = tmp_path / "ours.pem"
        believed.write_text(ours)
        with Client(url, ca=str(believed), certificate=marie) as client, pytest.raises(Unreachable):
            client.login_by_certificate()
        authority.file.write_text(ours + other.file.read_text())
        with Client(url, ca=str(believed), certificate=marie) as client:
            assert client.login_by_certificate().person == "marie.curie"


def test_a_whole_archive_serves_by_https(authority: Authority, tmp_path: Path) -> None:
    up = Up(tmp_path)
    up.data.mkdir()
    server = authority.issue("/CN=127.0.0.1", server=True)
    (up.data / "holdfast.toml").write_text(
        f'[web]\ncertificate = "{server}"\nclient_ca = "{authority.file}"\n[people]\nnewcomers = "admit"\n'
    )
    believed = {"HOLDFAST_CA": str(authority.file), "HOME": str(tmp_path)}
    with up:
        assert f"Holdfast is running at https://127.0.0.1:{up.port}" in up.told()
        assert up.run("status", env=believed).returncode == 0
        refused = up.run("status")
        assert refused.returncode != 0
        assert "certificate" in refused.stderr
        marie = ("login", "--certificate", authority.issue(MARIE))
        assert "as marie.curie" in up.run(*marie, env=believed).stdout
        assert up.run("whoami", env=believed).stdout.startswith("marie.curie")
        assert "Traceback" not in up.told()

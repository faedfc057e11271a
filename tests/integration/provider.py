# SPDX-License-Identifier: Apache-2.0
"""A real OpenID Connect provider and a real directory, for the time of a test."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import httpx

from holdfast.identity.ldap import ldap3
from holdfast.testing.proxy import free_port

_HERE = Path(__file__).parent.parent / "oidc"


@contextmanager
def provider(back: str, secret: str = "a-secret-that-only-two-know") -> Iterator[str]:
    """Yield the issuer of a provider that sends browsers back to `back`, to an archive with this secret."""
    port = free_port()
    process = subprocess.Popen(
        ["node", "provider.js", str(port), back, secret],
        cwd=_HERE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdout is not None
        assert "ready" in process.stdout.readline()
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.communicate()


def browse(client: httpx.Client, url: str, name: str) -> httpx.Response:
    """Do what somebody does with a browser who is sent to `url`: type a name, agree, until it ends here again."""
    answer = client.get(url)
    for _ in range(20):
        while answer.is_redirect:
            answer = client.get(urljoin(str(answer.url), answer.headers["location"]))
        form = re.search(r'<form[^>]*action="([^"]+)"', answer.text)
        if form is None:
            return answer
        fields = dict(re.findall(r'<input[^>]*type="hidden"[^>]*name="([^"]+)"[^>]*value="([^"]*)"', answer.text))
        if 'name="login"' in answer.text:
            fields |= {"login": name, "password": "whatever"}
        answer = client.post(urljoin(str(answer.url), unescape(form[1])), data=fields)
    raise AssertionError(f"the provider asks for ever: {answer.text[:500]}")


_CONFIG = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
pidfile {home}/pid
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCertificateFile {home}/certificate.pem
TLSCertificateKeyFile {home}/key.pem
database mdb
maxsize 10485760
suffix "dc=example,dc=org"
rootdn "cn=root,dc=example,dc=org"
rootpw secret-of-root
directory {home}/data
overlay memberof
"""
_GROUP = {"cn": "staff", "member": "uid=marie,dc=example,dc=org"}
_PEOPLE = """dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
o: Example
dc: example

dn: uid=marie,dc=example,dc=org
objectClass: inetOrgPerson
uid: marie
cn: Marie Curie
sn: Curie
mail: marie@example.org
userPassword: radium and polonium
"""


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@contextmanager
def directory(home: Path) -> Iterator[tuple[str, Path]]:
    """Yield the address of a directory with one person in it, and the certificate to believe."""
    (home / "data").mkdir(parents=True)
    (home / "slapd.conf").write_text(_CONFIG.format(home=home))
    (home / "people.ldif").write_text(_PEOPLE)
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "key.pem", "-out", "certificate.pem",
         "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"],
        cwd=home, check=True, capture_output=True,
    )  # fmt: skip
    path = "/usr/sbin:/usr/bin:/sbin:/bin"
    slapadd, slapd = (str(shutil.which(name, path=path)) for name in ("slapadd", "slapd"))
    subprocess.run([slapadd, "-f", "slapd.conf", "-l", "people.ldif"], cwd=home, check=True, capture_output=True)
    plain, tls = free_port(), free_port()
    urls = f"ldap://127.0.0.1:{plain} ldaps://127.0.0.1:{tls}"
    process = subprocess.Popen([slapd, "-f", "slapd.conf", "-h", urls, "-d", "0"], cwd=home, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while not _answers(plain):
            assert time.monotonic() < deadline
            assert process.poll() is None
        server = ldap3.Server("127.0.0.1", plain, get_info=ldap3.NONE)
        with ldap3.Connection(server, "cn=root,dc=example,dc=org", "secret-of-root") as root:
            root.add(
                "cn=staff,dc=example,dc=org", "groupOfNames", _GROUP
            )  # the overlay sees what is added while it runs
        yield f"127.0.0.1:{plain} 127.0.0.1:{tls}", home / "certificate.pem"
    finally:
        process.terminate()
        process.wait()

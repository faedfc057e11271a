# SPDX-License-Identifier: Apache-2.0
"""A real certificate authority, for the time of a test."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Final

# With a type that OpenSSL has no name for, as some authorities of the grid have them.
_CONFIG: Final = """oid_section = oids
[oids]
eppn = 1.3.6.1.4.1.5923.1.1.1.6
[req]
distinguished_name = dn
[dn]
[ca]
default_ca = here
[here]
database = index.txt
default_md = sha256
default_crl_days = 2
"""
_KEY: Final = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-utf8", "-config", "req.cnf")


def openssl(*arguments: str | Path, at: Path) -> str:
    """Run OpenSSL in a folder and return what it says."""
    done = subprocess.run(["openssl", *arguments], cwd=at, check=True, capture_output=True, text=True)
    return done.stdout


class Authority:
    """An authority with its files in a folder of its own."""

    def __init__(self, folder: Path, name: str) -> None:
        """Make it."""
        self.folder = folder / name
        self.folder.mkdir()
        (self.folder / "req.cnf").write_text(_CONFIG)
        openssl("req", "-x509", *_KEY, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/DC=org/CN={name}", "-days", "2",
                "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign",
                at=self.folder)  # fmt: skip

    @property
    def file(self) -> Path:
        """Its certificate."""
        return self.folder / "ca.pem"

    def issue(self, subject: str, *, days: int = 2, server: bool = False) -> Path:
        """Return a new file with a certificate and its key."""
        name = f"{len(list(self.folder.glob('*.crt')))}"
        openssl("req", *_KEY, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", subject, at=self.folder)
        extra = "subjectAltName=IP:127.0.0.1\n" if server else ""
        (self.folder / f"{name}.ext").write_text(
            f"{extra}extendedKeyUsage={'serverAuth' if server else 'clientAuth'}\n"
        )
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days",
                str(days), "-extfile", f"{name}.ext", "-out", f"{name}.crt", at=self.folder)  # fmt: skip
        both = self.folder / f"{name}.pem"
        both.write_text((self.folder / f"{name}.crt").read_text() + (self.folder / f"{name}.key").read_text())
        return both

    def revoke(self, *certificates: Path, until: str = "") -> str:
        """Return its list, with these added to those that were revoked before; `until` as OpenSSL writes a time."""
        (self.folder / "index.txt").touch()
        signing = ("ca", "-config", "req.cnf", "-cert", "ca.pem", "-keyfile", "ca.key")
        for file in certificates:
            openssl(*signing, "-revoke", file, at=self.folder)
        span = ("-crl_lastupdate", "20200101000000Z", "-crl_nextupdate", until) if until else ()
        return openssl(*signing, "-gencrl", *span, at=self.folder)

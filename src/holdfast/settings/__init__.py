# SPDX-License-Identifier: Apache-2.0
"""The settings: read once, checked whole, every value with the place it came from.

One TOML file, `HOLDFAST_*` environment variables over it, and the command line over both. A key that is not known is
an error that names the nearest one that is. Each table below is one section of the file; the reference page is made
from them (`make docs`).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Final, get_type_hints

from holdfast.settings.values import Kinds, Seconds, Share, Shares, Size, setting

_MASK: Final = "********"


@dataclass(frozen=True)
class Site:
    """This data centre."""

    name: str = setting("main", "The name of this site; it is in every row and package that the site makes.")
    server: str = setting(
        socket.gethostname, "The host name that people and other sites use for this one.", unless="the host name"
    )


@dataclass(frozen=True)
class Database:
    """The catalogue's PostgreSQL, version 15 or newer."""

    url: str = setting(
        "",
        "How to reach it: `postgresql://user:password@host/name`, or libpq's `host=... dbname=...`.",
        unless="the embedded server, in the folder `database` of the data folder",
        secret=True,
    )
    connections: int = setting(10, "The most connections that one process keeps open.", least=2, most=1000)


@dataclass(frozen=True)
class Web:
    """The REST API."""

    host: str = setting("127.0.0.1", "The address to listen on; `0.0.0.0` is every address of the machine.")
    port: int = setting(8080, "The TCP port to listen on.", least=1, most=65535)
    address: str = setting(
        "", "How people reach it, as `https://archive.example.org`; a browser is sent back there after signing in.",
        unless="the address that they used",
    )  # fmt: skip
    certificate: str = setting(
        "", "A PEM file with the certificate of this server and those above it, to serve by https.", unless="http"
    )
    key: str = setting("", "A PEM file with its key, without a password.", unless="in the same file")
    client_ca: str = setting(
        "", "A PEM file with the authorities whose client certificates are credentials.", unless="none are asked for"
    )
    client_crl: str = setting(
        "", "A PEM file with the revocation lists (CRL) of all these authorities; without a current one of it, no certificate "
        "of an authority is good.", unless="no certificate counts as revoked",
    )  # fmt: skip


@dataclass(frozen=True)
class People:
    """Tokens, and how often somebody may try to log in."""

    token_lifetime: Seconds = setting(Seconds(30 * 86400), "How long a token is good when nobody says.", least=1)
    token_longest: Seconds = setting(Seconds(365 * 86400), "The longest that one may ask for.", least=1)
    attempts: int = setting(
        10, "How often a login may fail for one name, and somebody apply for accounts from one address, before both are "
        "refused for a while; from one address, a login may fail, and a sign-in elsewhere be begun and not ended, ten times as often. "
        "An IPv6 network (/64) counts as one address.", least=1, most=1_000_000,
    )  # fmt: skip
    attempts_window: Seconds = setting(Seconds(900), "In which time that is counted.", least=1, most=86400)
    newcomers: str = setting(
        "refuse", "What becomes of those who sign in elsewhere and have no account here: `refuse`, `apply` (an "
        "administrator decides), or `admit`.",
    )  # fmt: skip
    claims: str = setting(
        "", "Which groups that others claim for somebody are groups here, as `urn:staff=staff:reader; "
        "urn:proposal:*=*:writer`; the star stands for the rest of the name. What the JWTs of an issuer claim counts by rules that "
        "begin with its address and a blank only.", unless="none",
    )  # fmt: skip
    issuers: str = setting(
        "", "Whose JWT bearer tokens are good, as `https://issuer.example.org=AUDIENCE`, separated by commas.",
        unless="nobody's",
    )  # fmt: skip


@dataclass(frozen=True)
class Oidc:
    """An OpenID Connect provider at which people sign in, such as a facility's proxy for eduGAIN."""

    issuer: str = setting("", "Its address, as its tokens name it.", unless="none")
    client: str = setting("", "The name under which this archive is registered there.")
    secret: str = setting("", "The secret of that registration.", secret=True)
    scopes: str = setting("openid profile email", "What is asked for.")
    groups: str = setting("groups", "The claim that has the groups of a person.")


@dataclass(frozen=True)
class Ldap:
    """A directory whose names and passwords are good for logging in."""

    url: str = setting(
        "", "As `ldaps://ldap.example.org`, or `ldap://...`, which is encrypted by STARTTLS.", unless="none"
    )
    ca: str = setting("", "A file with the certificates that are believed.", unless="those of the system")
    bind_dn: str = setting("", "As whom to search.", unless="nobody")
    bind_password: str = setting("", "The password for that.", secret=True)
    base: str = setting("", "Below which entry people are.")
    filter: str = setting("(uid={name})", "How a person is found by name.")
    title: str = setting("cn", "The attribute with the whole name.")
    mail: str = setting("mail", "The attribute with the mail address.")
    groups: str = setting("memberOf", "The attribute with the groups.")


@dataclass(frozen=True)
class X509:
    """Client certificates, checked by a proxy in front of the archive that tells whose they are."""

    secret: str = setting(
        "", "What the proxy sends as `X-Proxy-Secret`, so that nobody else can say who calls.", secret=True,
        unless="no certificates",
    )  # fmt: skip
    subject: str = setting("X-SSL-Client-S-DN", "The header with the subject of the certificate.")
    issuer: str = setting("X-SSL-Client-I-DN", "The header with its issuer.")


@dataclass(frozen=True)
class Roots:
    """Where the archive may read and write files on behalf of people; everything else is refused."""

    source: tuple[Path, ...] = setting((), "Folders below which datasets may be archived from.")
    destination: tuple[Path, ...] = setting((Path("/"),), "Folders below which files may be delivered to.")
    owners: str = setting(
        "archive", "To whom delivered files belong: the user of the `archive`, or those to whom they were `kept` when they "
        "were archived, with mode and access list (ACL) as then. The latter takes a program that may give files away.",
    )  # fmt: skip


@dataclass(frozen=True)
class Library:
    """The tape library: the mount point of LTFS Library Edition, or a simulated library of the same behaviour."""

    kind: str = setting("simulator", "`ltfs` for real tapes, `simulator` for a folder that behaves like them.")
    path: str = setting("", "The mount point, or the folder.", unless="the folder `library` of the data folder")
    state: str = setting(
        "", "Where locks, and what is known of real tapes, are kept: a folder on a local disk, the same for all "
        "archives of this host that use the library.", unless="the folder `tapes` of the data folder",
    )  # fmt: skip
    drives: Kinds = setting(Kinds("2"), "The drives: a number, or kinds with numbers. Twin copies want two.")
    reserve: Size = setting(Size(200_000_000), "What is left free on a tape, for its index.", least=0)
    adopt: str = setting(
        "all", "Which tapes are used that were not known: `all`, or `none` before `holdfast admin tape add`."
    )
    warn_errors: int = setting(
        10, "A tape that needs more corrected errors in a GB counts as failing, and is not written any more.",
        least=1, most=1_000_000,
    )  # fmt: skip
    tapes: int = setting(8, "How many tapes a simulated library is made with.", least=2, most=10000)
    media: Kinds = setting(
        Kinds(""), "The media types of a simulated library with numbers, instead of `tapes`.", unless="tapes of no type"
    )
    capacity: Size = setting(Size(2_000_000_000), "What one simulated tape holds.", least=1_000_000)
    speed: float = setting(
        0.0, "How fast a simulated library is: 1 is as slow as real tapes (a small tape is as long, and takes as long to "
        "fill, as a large one), 1000 a thousand times faster. 0: nothing takes any time.", least=0, most=1e9,
    )  # fmt: skip


@dataclass(frozen=True)
class Staging:
    """The disk area of packages that are not yet on all their media."""

    path: str = setting("", "The folder.", unless="the folder `staging` of the data folder")
    limit: Size = setting(
        Size(0), "The most bytes in it; packing waits when it is full. 0: what the disk has.", least=0
    )


@dataclass(frozen=True)
class Landing:
    """The disk area of files that people add to open datasets, until these are closed and safe on tape."""

    path: str = setting("", "The folder.", unless="the folder `landing` of the data folder")
    limit: Size = setting(Size(0), "The most bytes in it; more are refused. 0: what the disk has.", least=0)
    hosts: tuple[str, ...] = setting(
        (),
        "Hosts that files may be fetched from, by https and at public addresses: `data.example.org`, `*.example.org`. One "
        "that is written with its scheme, as `http://store.local:8000`, may be at any address.",
    )
    keep: Seconds = setting(
        Seconds(7 * 86400), "How long the half of a file is kept that nobody goes on with.", least=60
    )


@dataclass(frozen=True)
class Buffer:
    """The disk area of files that were brought back for people to use, and are kept for a while."""

    path: str = setting(
        "", "The folder; people who use the files need to get there.", unless="the folder `buffer` of the data folder"
    )
    limit: Size = setting(Size(0), "The most bytes in it. 0: what the disk has.", least=0)
    high: Share = setting(
        Share(0.9),
        "The mark up to which it is filled, as a share of that; requests beyond it wait.",
        least=0.01,
        most=1,
    )
    lifetime: Seconds = setting(Seconds(86400), "How long files are kept when nobody says.", least=0)
    longest: Seconds = setting(Seconds(2_592_000), "The longest that one may ask for.", least=0)


@dataclass(frozen=True)
class Write:
    """When tapes are mounted for writing, and how long they stay in their drives."""

    age: Seconds = setting(
        Seconds(0), "Write when the oldest package has waited so long. 0: at once, which wears real tapes out.", least=0
    )
    enough: Size = setting(Size(500_000_000_000), "Write sooner when so much waits.", least=1)
    enough_files: int = setting(10_000, "Write sooner when so many packages wait.", least=1)
    sync: Size = setting(
        Size(32_000_000_000), "The index is written, which makes the packages before it safe, each time after so much.",
        least=1,
    )  # fmt: skip
    session: Size = setting(Size(1_000_000_000_000), "A mount ends here when somebody waits to read.", least=1)
    linger: Seconds = setting(
        Seconds(60), "How long the tapes wait in their drives for packages that are being packed.", least=0, most=3600
    )
    open_pairs: int = setting(2, "Over how many pairs of tapes with room the data of one family may spread.", least=1)


@dataclass(frozen=True)
class Recall:
    """Whose files are brought from tape first."""

    ageing_cap: Seconds = setting(
        Seconds(2.5 * 3600), "A tape for which somebody waited longer goes before all others; under a backlog, 1.5 "
        "times what all waiting tapes would take.", least=1,
    )  # fmt: skip
    session: Seconds = setting(
        Seconds(2 * 3600), "A tape takes no more requests when it was in its drive so long and others wait.", least=1
    )
    shares: Shares = setting(
        Shares(""), "What persons may use of the drives, as `alice=2, bob=1`; who is not listed has 1. Who used more "
        "in the last day than the share says waits longer while others ask.", unless="all the same",
    )  # fmt: skip


@dataclass(frozen=True)
class Workers:
    """How many jobs of each kind run at the same time in this data folder's process."""

    pack: int = setting(1, "Packing: reads the source, compresses, computes checksums.", least=0, most=256)
    extract: int = setting(1, "Reading headers of files for metadata; reads the source.", least=0, most=256)
    tape: int = setting(1, "Writing to tape; each holds the drives of one pair of tapes.", least=0, most=256)
    recall: int = setting(1, "Reading from tape and delivering.", least=0, most=256)
    fetch: int = setting(1, "Copying files of the server, and of other hosts, into open datasets.", least=0, most=256)
    check: int = setting(1, "Reading copies back and checking them.", least=0, most=256)


@dataclass(frozen=True)
class Planner:
    """What compares facts with intentions and makes the jobs."""

    interval: Seconds = setting(Seconds(1.0), "The longest time between two looks.", least=0.01, most=3600)
    scrub_days: int = setting(365, "A package that was not read for so long is read; 0: never.", least=0, most=36500)
    scrub_at_once: int = setting(1, "How many copies may wait for that at a time.", least=1, most=1000)


@dataclass(frozen=True)
class Log:
    """What is told while it runs."""

    level: str = setting("info", "The least important kind that is shown: `debug`, `info`, `warning` or `error`.")
    format: str = setting("text", "`text` for people, `json` for one JSON object per line.")


@dataclass(frozen=True)
class Settings:
    """All settings, the data folder they belong to, and where each came from."""

    data: Path
    site: Site = field(default_factory=Site)
    database: Database = field(default_factory=Database)
    web: Web = field(default_factory=Web)
    people: People = field(default_factory=People)
    oidc: Oidc = field(default_factory=Oidc)
    ldap: Ldap = field(default_factory=Ldap)
    x509: X509 = field(default_factory=X509)
    roots: Roots = field(default_factory=Roots)
    library: Library = field(default_factory=Library)
    staging: Staging = field(default_factory=Staging)
    landing: Landing = field(default_factory=Landing)
    buffer: Buffer = field(default_factory=Buffer)
    write: Write = field(default_factory=Write)
    recall: Recall = field(default_factory=Recall)
    workers: Workers = field(default_factory=Workers)
    planner: Planner = field(default_factory=Planner)
    log: Log = field(default_factory=Log)
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def token_file(self) -> Path:
        """The first administrator's token, readable by the archive's user only."""
        return self.data / "token"

    @property
    def database_folder(self) -> Path:
        """The embedded database's folder."""
        return self.data / "database"

    @property
    def library_path(self) -> Path:
        """The tape library's folder."""
        return self.data / (self.library.path or "library")

    @property
    def library_state(self) -> Path:
        """The folder of locks and of what is known of real tapes."""
        return self.data / (self.library.state or "tapes")

    @property
    def staging_path(self) -> Path:
        """The folder of packages on their way to media."""
        return self.data / (self.staging.path or "staging")

    @property
    def landing_path(self) -> Path:
        """The real path of the folder of files that are added to open datasets."""
        return _real(self.data / (self.landing.path or "landing"))

    @property
    def buffer_path(self) -> Path:
        """The real path of the folder of files that are kept for people to use."""
        return _real(self.data / (self.buffer.path or "buffer"))

    def explain(self) -> list[tuple[str, str, str]]:
        """Every key with its value, secrets masked, and its origin."""
        rows = []
        for key, (section, item, _) in known_keys().items():
            value = getattr(getattr(self, section), item.name)
            shown = (_MASK if value else "") if item.metadata["secret"] else show(value)
            rows.append((key, shown, self.origins.get(key, "default")))
        return rows


def _real(path: Path) -> Path:
    """Return a path without links: those are followed where an operator made them, and nowhere else."""
    return Path(os.path.realpath(path))


def sections() -> dict[str, type]:
    """The sections of the file and the table of each."""
    hints = get_type_hints(Settings)
    return {item.name: hints[item.name] for item in fields(Settings) if item.name not in {"data", "origins"}}


def known_keys() -> dict[str, tuple[str, Field[Any], Any]]:
    """Every key, as `section.name`, with its section, its field and its type."""
    return {
        f"{section}.{item.name}": (section, item, get_type_hints(table)[item.name])
        for section, table in sections().items()
        for item in fields(table)
    }


def show(value: object) -> str:
    """One value as it would be written, lists with commas."""
    if isinstance(value, tuple):
        return ", ".join(str(part) for part in value)
    return str(value)

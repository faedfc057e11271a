# SPDX-License-Identifier: Apache-2.0
"""The page of who may do what, from `model/rights.py` and from what each route asks."""

from __future__ import annotations

import inspect
import pkgutil
import re
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any, Final

from holdfast.model.rights import RIGHTS, ROLES, STATES, VISITOR, Action, Person, verdict
from holdfast.web import api
from holdfast.web.routing import PREFIX

_HEAD: Final = """\
# Who may do what

<!-- Made by `make docs` from src/holdfast/model/rights.py and src/holdfast/web/api: change those. -->

Somebody has a role at the site (`admin`, `operator`, `member`), and may have roles to a dataset: as its owner, because it was
shared (`holdfast share`), or in its group. A *member* below is somebody who signed in and has no role to the dataset; a
*visitor* did not sign in; *public* is a visitor where the dataset is shared with everyone.

| answer | REST | meaning |
|---|---|---|
| yes | 2xx | |
| no | 403 | this needs another role |
| hidden | 404 | in the same words as for a dataset that is not there |
| not now | 409 | the state of the dataset does not admit it |
| sign in | 401 | |

A token gives no right that it has no scope for: then the answer is 403, or 404 when the scope `read` is missing and one has no
other right to see the dataset. Reading is `read`; changing is `write`; `operate` and `admin` are for those roles; `office` is
for the program of a user office.
"""
# Who has which roles to the dataset.
STANDINGS: Final[dict[str, tuple[Person, tuple[str, ...]]]] = {
    "admin": (Person("admin", "admin"), ()),
    "operator": (Person("operator", "operator"), ()),
    **{role: (Person(role, "member"), (role,)) for role in ROLES},
    "member": (Person("member", "member"), ()),
    "visitor": (VISITOR, ()),
    "public": (VISITOR, ("reader",)),
}
_OF_GROUPS: Final[tuple[Action, ...]] = ("belong", "contribute", "lead")
OF_DATASETS: Final[tuple[Action, ...]] = tuple(
    action for action, right in RIGHTS.items() if right.least and action not in _OF_GROUPS
)
# Routes that ask for no right of the table, and why.
OPEN: Final = {
    "GET /health": "tells nothing but that the server works",
    "POST /login": "for who has no token yet; attempts are counted",
    "POST /password": "for who knows the old password; attempts are counted",
    "POST /applications": "for who has no account yet; attempts are counted",
    "GET /whoami": "about oneself",
    "POST /logout": "ends the token that is shown",
    "GET /requests": "one's own; all for operators",
    "GET /requests/{request}": "one's own; all for operators",
    "POST /requests/{request}/cancel": "one's own; all for operators",
    "POST /requests/{request}/keep": "one's own; all for operators",
    "POST /requests/{request}/unstage": "one's own; all for operators",
    "GET /groups": "those that one is in; all for operators",
    "GET /profiles": "for whoever signed in: what may be chosen",
    "GET /profiles/{name}": "for whoever signed in: what may be chosen",
    "OPTIONS /uploads": "for whoever signed in: what the protocol can do",
    "GET /login/oidc": "for who has no token yet; attempts are counted",
    "GET /login/oidc/back": "for who has no token yet; the provider says who it is",
    "POST /login/device": "for who has no token yet; attempts are counted",
    "POST /login/device/{handle}": "for who has no token yet; the provider says who it is",
    "POST /login/certificate": "for who has no token yet; a proxy that is trusted says who it is",
    "GET /shared/{secret}": "the secret is the right",
    "GET /shared/{secret}/content/{path}": "the secret is the right",
    "GET /shared/{secret}/bundle": "the secret is the right",
    "GET /shared/{secret}/checksums": "the secret is the right",
}
_ASKED: Final = re.compile(r'\b(?:may|may_in_group)[(,]\s*archive, person, (?:"(\w+)"|"(\w+)" if [^,]+ else "(\w+)")')


_PARAMETER: Final = re.compile(r":\w+}")


def routes() -> Iterator[tuple[str, list[str]]]:
    """Yield each route with the actions that it asks for; `see` also for lists of what one may see."""
    for found in pkgutil.iter_modules(api.__path__, f"{api.__name__}."):
        for route in import_module(found.name).router.routes:
            source = _source(route.endpoint)
            actions = [action for groups in _ASKED.findall(source) for action in groups if action]
            actions += ["see"] if "sight(person)" in source or "seen(archive, person" in source else []
            for method in sorted(route.methods):
                yield f"{method} {_PARAMETER.sub('}', route.path.removeprefix(PREFIX))}", list(dict.fromkeys(actions))


def _source(endpoint: Callable[..., Any]) -> str:
    """Return the source of a route with that of the functions of its module that it uses."""
    local = {
        name: inspect.getsource(found) for name, found in vars(inspect.getmodule(endpoint)).items()
        if inspect.isfunction(found) and found.__module__ == endpoint.__module__
    }  # fmt: skip
    names, parts = {endpoint.__name__}, [inspect.getsource(endpoint)]
    for part in parts:  # which grows
        used = [name for name in local if name not in names and re.search(rf"(?<!\.)\b{name}[(,]", part)]
        names.update(used)
        parts += [local[name] for name in used]
    return "".join(parts)


def page() -> str:
    """Return the page as Markdown."""
    parts = [_HEAD]
    for state in STATES:
        parts.append(f"\n## A dataset that is {state}\n\n")
        parts += _table(["action", "what", *STANDINGS], [_cells(action, state) for action in OF_DATASETS])
    parts.append("\n## Groups\n\nWho is in no group of the name is told that there is none.\n\n")
    parts += _table(["action", "what", "scope", "who"], [_who(action) for action in _OF_GROUPS])
    parts.append("\n## The site\n\n")
    rest = [action for action in RIGHTS if action not in {*OF_DATASETS, *_OF_GROUPS}]
    parts += _table(["action", "what", "scope", "who"], [_who(action) for action in rest])
    parts.append("\n## Routes\n\n")
    parts += _table(["route", "asks for"], sorted([f"`{name}`", _asks(name, actions)] for name, actions in routes()))
    return "".join(parts)


def _cells(action: Action, state: str) -> list[str]:
    answers = [verdict(person, action, roles, state) for person, roles in STANDINGS.values()]
    return [f"`{action}`", RIGHTS[action].does, *answers]


def _who(action: Action) -> list[str]:
    right = RIGHTS[action]
    group = [f"a {right.least} of the group, or more"] if right.least else []
    return [f"`{action}`", right.does, f"`{right.scope}`", ", ".join([*sorted(right.site), *group])]


def _asks(name: str, actions: list[str]) -> str:
    return ", ".join(f"`{action}`" for action in actions) or OPEN.get(name, "")


def _table(head: list[str], rows: list[Any]) -> list[str]:
    return [f"| {' | '.join(cells)} |\n" for cells in (head, ["---"] * len(head), *rows)]

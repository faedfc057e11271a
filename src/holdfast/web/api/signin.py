# SPDX-License-Identifier: Apache-2.0
"""Signing in elsewhere: at a provider with a browser or on another device, or with a certificate."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import Query, Request
from starlette.responses import RedirectResponse, Response

from holdfast.errors import InvalidInput
from holdfast.identity.certificate import names_in
from holdfast.services import elsewhere
from holdfast.services.rights import may
from holdfast.web.caller import Caller, TheArchive, address_of, cookie_of
from holdfast.web.problems import responses
from holdfast.web.routing import Router
from holdfast.wire.people import MadeToken
from holdfast.wire.signin import CredentialPage, DeviceSignIn, NewCredential

router = Router(tags=["people"])
_STATE: Final = "holdfast_signing_in"
_MINUTES: Final = 15 * 60  # seconds
_SENT: Final[dict[int | str, dict[str, Any]]] = {303: {"description": "Go there."}}
Text = Annotated[str, Query(max_length=4096)]


@router.get("/login/oidc", status_code=303, response_class=Response, responses={**_SENT, **responses(429)})
def begin(archive: TheArchive, request: Request, next: Text = "/") -> Response:  # noqa: A002 (as everybody calls it)
    """Send a browser to the provider to sign in; in the end it goes to the path `next` of this archive."""
    if not next.startswith("/") or next.startswith(("//", "/\\")):
        raise InvalidInput(what="next is a path of this archive.")
    url, state = elsewhere.begin(archive, redirect=_redirect(archive, request), then=next, address=address_of(request))
    answer = RedirectResponse(url, 303)
    answer.set_cookie(_STATE, state, max_age=_MINUTES, httponly=True, samesite="lax", secure=_secure(archive, request))
    return answer


@router.get("/login/oidc/back", status_code=303, response_class=Response, responses={**_SENT, **responses()})
def finish(
    archive: TheArchive,
    request: Request,
    state: Text = "",
    code: Text = "",
    error: Text = "",
    error_description: Text = "",
) -> Response:
    """Take a browser that comes back from the provider, and keep it signed in by a cookie."""
    if not code:
        raise InvalidInput(
            what=f"The provider did not sign you in. It says: {error_description or error or 'nothing'}."
        )
    made, then = elsewhere.finish(
        archive,
        state=state,
        kept=request.cookies.get(_STATE, ""),
        code=code,
        redirect=_redirect(archive, request),
        address=address_of(request),
    )
    answer = RedirectResponse(then, 303)
    answer.delete_cookie(_STATE)
    answer.set_cookie(
        cookie_of(archive), made.secret, max_age=int(elsewhere.SESSION), httponly=True, samesite="lax",
        secure=_secure(archive, request),
    )  # fmt: skip
    return answer


@router.post("/login/device", status_code=201, responses=responses(429))
def begin_device(archive: TheArchive, request: Request) -> DeviceSignIn:
    """Begin to sign in on another device; needs no token."""
    return elsewhere.begin_device(archive, address=address_of(request))


@router.post(
    "/login/device/{handle}", status_code=201, response_model=MadeToken,
    responses={202: {"description": "Nobody has signed in yet."}, **responses()},
)  # fmt: skip
def finish_device(
    archive: TheArchive, request: Request, handle: str, label: Annotated[str, Query(max_length=200)] = ""
) -> Any:
    """Give a token once somebody has signed in on the other device. The secret is in this answer only."""
    return elsewhere.finish_device(archive, handle, label=label, address=address_of(request)) or Response(
        status_code=202
    )


@router.post("/login/certificate", status_code=201, responses=responses())
def certificate(archive: TheArchive, request: Request, label: Annotated[str, Query(max_length=200)] = "") -> MadeToken:
    """Give a token to whose certificate this server, or the proxy in front, has checked. The secret is in this answer only."""
    names = archive.settings.x509
    secret = request.headers.get("x-proxy-secret")
    if secret is None:
        shown = next(iter(request.scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ())), None)
        subject, issuer = names_in(shown) if shown else ("", "")
    else:  # the certificate of the connection, if there is one, is the proxy's own
        elsewhere.believe_proxy(archive, secret)
        subject, issuer = (request.headers.get(name, "") for name in (names.subject, names.issuer))
    return elsewhere.by_certificate(archive, subject=subject, issuer=issuer, label=label)


@router.get("/people/{name}/credentials", responses=responses(404))
def credential_list(name: str, archive: TheArchive, person: Caller) -> CredentialPage:
    """List how a person is recognised."""
    may(archive, person, "administer")
    return CredentialPage(items=elsewhere.credential_list(archive, name))


@router.post("/people/{name}/credentials", responses=responses(404, 409))
def add_credential(name: str, wish: NewCredential, archive: TheArchive, person: Caller) -> CredentialPage:
    """Have a person be recognised in one more way. Repeating it changes nothing."""
    may(archive, person, "administer")
    return CredentialPage(items=elsewhere.add_credential(archive, name, wish, by=person.name))


@router.delete("/people/{name}/credentials/{credential}", responses=responses(404))
def remove_credential(name: str, credential: int, archive: TheArchive, person: Caller) -> CredentialPage:
    """Have a person be recognised in one way less; the groups that it claimed end. Repeating it changes nothing."""
    may(archive, person, "administer")
    return CredentialPage(items=elsewhere.remove_credential(archive, name, credential, by=person.name))


def _redirect(archive: TheArchive, request: Request) -> str:
    base = archive.settings.web.address or str(request.base_url)
    return f"{base.rstrip('/')}/api/v1/login/oidc/back"


def _secure(archive: TheArchive, request: Request) -> bool:
    return (archive.settings.web.address or str(request.base_url)).lower().startswith("https:")

# SPDX-License-Identifier: Apache-2.0
"""The page of the REST API, from the OpenAPI description of its routers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from fastapi import FastAPI

from holdfast.web.application import NOUNS

_HEAD: Final = """\
# REST API

<!-- Made by `make docs` from src/holdfast/web and src/holdfast/wire: change those. -->

The running server gives the same as OpenAPI 3.1 at `/api/v1/openapi.json`. It listens on the loopback address only
unless `web.host` says otherwise, and speaks plain HTTP unless it has a certificate: give it one, or put a proxy that does TLS in
front of it, before others may reach it.

**Token.** Calls need `Authorization: Bearer TOKEN`, but for `GET /api/v1/health`, what is public, and the routes of those who
have no token yet: `POST /api/v1/login`, `/password` and `/applications`. `POST /api/v1/login` gives one for name and password; the
administrator's stands in the file `token` of the data folder. Without one, or with one that is not good, the answer is 401; 403
when it may not do this; 404 also for what one may not know of.

**Errors** are problem documents (RFC 9457, `application/problem+json`): `type`, `title`, `status`, `detail` (a sentence for
people), `code` (for programs, see [errors](errors.md)) and `details` (the values in the sentence). 400 (what came
is no request that can be read), 401, 403, 422, 500 and 503 may come from every route and are not repeated below. 429 (too many
attempts) has `Retry-After` in seconds. 503 with `Retry-After` means that the catalogue is away for a moment, or that the server
receives as many uploads, or asks a directory or provider for as many people, as it can.

**Time.** A request has to say within 20 seconds what it wants, in 512 KB of headers at most; a body of which nothing comes for 60
seconds, or less than 64 KiB in five minutes while it is not whole, is given up. So is an answer of which less than 1 MiB is taken in
five minutes; files can be asked for from where they stopped (`Range`).

**Lists** come in pages. `next` in the answer is the `cursor` of the next page; it is opaque, and null behind the last page.
The event feed is different: its `next` is always there and is given back as `after`, also when there was nothing new.

**Repeating a call.** A POST route that lists the header `Idempotency-Key` gives the same answer when it is called again
with the same key and body. The same key with another body is a 409. Keys are kept for 7 days.

**Paths** in a dataset are text. Bytes that are not UTF-8 are shown as `\\xNN`, and then `path_base64` has the exact bytes.

**Unknown keys** in a body, and unknown parameters, are an error.

    curl -H "Authorization: Bearer $(cat archive/token)" http://127.0.0.1:8080/api/v1/datasets
"""
_ALWAYS: Final = frozenset({"400", "401", "403", "422", "500", "503"})


def document() -> dict[str, Any]:
    """Return the OpenAPI description; no archive is needed for it."""
    app = FastAPI(title="Holdfast", version="1")
    for module in NOUNS:
        app.router.routes.extend(module.router.routes)
    return app.openapi()


def routes(described: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield (method, path, operation) in the order of the program."""
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def page() -> str:
    """Return the page as Markdown."""
    described = document()
    parts = [_HEAD, "\n## Routes\n"]
    parts += [_route(method, path, operation) for method, path, operation in routes(described)]
    parts.append("\n## Bodies\n")
    parts += [_model(name, schema) for name, schema in sorted(described["components"]["schemas"].items())]
    return "".join(parts)


def _route(method: str, path: str, operation: dict[str, Any]) -> str:
    lines = [f"\n### {method} {path}\n", operation["description"], ""]
    body = operation.get("requestBody")
    if body:
        lines.append(f"- body: {_content(body)}")
    lines += [
        f"- {item['in']} `{_header(item)}`: {_kind(item['schema'])}{_bounds(item['schema'])}"
        for item in operation.get("parameters", [])
        if item["in"] != "path"
    ]
    lines += [
        f"- answer {code}: {_content(answer)}" for code, answer in operation["responses"].items() if code[0] in "23"
    ]
    if errors := [code for code in operation["responses"] if code[0] not in "23" and code not in _ALWAYS]:
        lines.append(f"- errors: {', '.join(errors)}")
    return "\n".join(lines) + "\n"


def _content(described: dict[str, Any]) -> str:
    """Say what a body or an answer is: a model, or of which media type."""
    kinds = [
        _kind(content["schema"]) if media_type == "application/json" else f"`{media_type}`"
        for media_type, content in described.get("content", {}).items()
        if content.get("schema") or media_type != "application/json"
    ]
    return " or ".join(kinds) or "nothing"


def _header(item: dict[str, Any]) -> str:
    name = str(item["name"])
    return "-".join(part.capitalize() for part in name.split("-")) if item["in"] == "header" else name


def _model(name: str, schema: dict[str, Any]) -> str:
    about = schema.get("description", "").splitlines()
    lines = [f"\n### {name}\n", about[0] if about else "", "", "| key | type | meaning |", "|---|---|---|"]
    required = schema.get("required", [])
    for key, value in schema.get("properties", {}).items():
        notes = value.get("description", "") + _bounds(value)
        optional = "" if key in required else " (may be left out)"
        lines.append(f"| `{key}` | {_kind(value)}{optional} | {notes.strip(' ,')} |")
    return "\n".join(lines) + "\n"


def _kind(schema: dict[str, Any]) -> str:
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(part) for part in schema["anyOf"])
    if schema.get("format") == "date-time":
        return "time (ISO 8601)"
    if schema.get("type") == "array":
        return f"list of {_kind(schema['items'])}"
    return str({"string": "text", "integer": "whole number"}.get(schema.get("type", ""), schema.get("type", "any")))


def _bounds(schema: dict[str, Any]) -> str:
    words = {"minimum": "at least", "maximum": "at most", "maxLength": "at most", "maxItems": "at most"}
    units = {"maxLength": " characters", "maxItems": " items"}
    parts = [schema, *schema.get("anyOf", [])]
    found = [f", {words[k]} {part[k]:,}{units.get(k, '')}" for part in parts for k in words if k in part]
    default = schema.get("default")
    if default not in (None, "", [], {}):
        found.append(f", default `{str(default).lower() if isinstance(default, bool) else default}`")
    return "".join(found)

"""The index page and a page per problem: plain HTML made from the OpenAPI document, with nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Response

from kgservice.server.problems import KINDS, Kind, RequestProblem

_STYLE = """
:root { color-scheme: light dark; font: 16px/1.5 system-ui, sans-serif }
body { max-width: 56rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 }
table { border-collapse: collapse; width: 100% }
td { padding: .3rem 1rem .3rem 0; vertical-align: top; border-top: 1px solid #8884 }
pre { padding: .8rem 1rem; overflow-x: auto; background: #8882; border-radius: .4rem }
code { font: .9em ui-monospace, monospace }
"""
_STYLE_HASH = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; frame-ancestors 'none'; base-uri 'none'"


def pages(app: FastAPI) -> APIRouter:
    """The routes of the pages about `app`; `/` is this page's where no console takes it first."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    @router.get("/api")
    async def index() -> Response:
        """What this server answers."""
        return _html(app.title, _index(app.openapi()))

    @router.get("/problems/{slug}")
    async def problem(slug: str) -> Response:
        """What a problem type means."""
        if slug not in KINDS:
            raise RequestProblem("not-found", "There is no problem type of this name.")
        return _html(KINDS[slug].title, _problem(KINDS[slug]))

    return router


def _index(document: Mapping[str, Any]) -> Iterator[str]:
    info = document["info"]
    yield f"<h1>{escape(info['title'])} <small>{escape(info['version'])}</small></h1>"
    yield '<p>Described whole in <a href="/openapi.json">openapi.json</a>. How good the answers are: '
    yield '<a href="/v1/report">report</a>, <a href="/v1/releases">releases</a>.</p><table>'
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            call = f"<code>{method.upper()} {escape(path)}</code>"
            yield f"<tr><td>{call}</td><td>{escape(operation['summary'])}</td></tr>"
    yield "</table><h2>Three calls</h2>"
    for path in ("/v1/complete", "/v1/classify"):
        media = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        example = next(iter(media["examples"].values()))
        body = json.dumps(example["value"])
        yield f"<p>{escape(example['summary'])}</p>"
        yield _call(f"curl -s http://localhost:8000{path} -H 'Content-Type: application/json' -d '{body}'")
    yield "<p>Which entity is called Paris?</p>"
    yield _call("curl -s 'http://localhost:8000/v1/search?q=Paris&k=5'")


def _problem(kind: Kind) -> Iterator[str]:
    yield f"<h1>{escape(kind.title)}</h1><p>HTTP status {kind.status}.</p><p>{escape(kind.advice)}</p>"
    yield '<p><a href="/api">All that this server answers</a></p>'


def _call(command: str) -> str:
    return f"<pre><code>{escape(command)}</code></pre>"


def _html(title: str, body: Iterator[str]) -> Response:
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{''.join(body)}</body></html>"
    )
    return Response(html, media_type="text/html", headers={"Content-Security-Policy": _POLICY})

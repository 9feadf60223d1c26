"""The console: the files of `api/console/`, served from memory with a policy that lets nothing else in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

from fastapi import APIRouter, Request, Response

from kgservice.server.problems import RequestProblem

_HEADERS = {
    "Cache-Control": "no-cache",  # kept by the browser, asked for again by its ETag: an update is seen at once
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""A file of another kind is not served."""


@dataclass(frozen=True)
class _File:
    content: bytes
    media_type: str
    tag: str

    @classmethod
    def read(cls, path: Path) -> Self:
        content = path.read_bytes()
        return cls(content, _MEDIA_TYPES[path.suffix], f'"{hashlib.sha256(content).hexdigest()[:32]}"')

    def response(self, request: Request, policy: str) -> Response:
        headers = {**_HEADERS, "Content-Security-Policy": policy, "ETag": self.tag}
        given = [part.strip().removeprefix("W/") for part in request.headers.get("if-none-match", "").split(",")]
        if self.tag in given or "*" in given:
            return Response(status_code=304, headers=headers)
        return Response(self.content, media_type=self.media_type, headers=headers)


def policy_of(images: Sequence[str]) -> str:
    """Scripts, styles and data of this server alone, and pictures of some origins.

    Trusted types make the browser refuse text as markup, whoever forgets it.
    """
    pictures = " ".join(["'self'", *images])
    return (
        f"default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    )


def console(folder: Path, images: Sequence[str] = ()) -> APIRouter:
    """The routes `/` and `/console/…` over the files of a folder, read once.

    Args:
        folder: holds `index.html`; files are named by their paths below it, so that no request reaches the disk.
        images: origins that pictures of entities may be loaded from.
    """
    files, policy = _read(folder), policy_of(images)
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def index(request: Request) -> Response:
        """The page."""
        return files["index.html"].response(request, policy)

    @router.get("/console/{path:path}")
    async def file(path: str, request: Request) -> Response:
        """What it loads."""
        if path not in files:
            raise RequestProblem("not-found", "The console has no such file.")
        return files[path].response(request, policy)

    return router


def _read(folder: Path) -> Mapping[str, _File]:
    paths = [path for path in sorted(folder.rglob("*")) if path.suffix in _MEDIA_TYPES]
    return {str(PurePosixPath(path.relative_to(folder))): _File.read(path) for path in paths}

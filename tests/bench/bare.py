"""A FastAPI route that gives one answer, written anew for every request: what a server costs before anything is asked of it."""

from __future__ import annotations

import socket
import sys
from dataclasses import dataclass
from pathlib import Path

import orjson
import uvicorn
from fastapi import FastAPI, Response

from kgservice.answers import Answer, Candidate, Named
from kgservice.server.settings import ServerSettings


@dataclass(frozen=True)
class Given:
    """Where the answer lies, for processes that read it again."""

    path: Path

    def answer(self) -> Answer:
        """The dataclasses that the service makes too."""
        read = orjson.loads(self.path.read_bytes())
        candidates = [Candidate(**one) for one in read.pop("candidates")]
        parts = {name: read.pop(name) for name in ("subject", "relation", "object")}
        named = {name: Named(**part) if part else None for name, part in parts.items()}
        return Answer(**{**read, **named, "candidates": candidates})


def make() -> FastAPI:
    """The application."""
    answer, app = Given(Path(sys.argv[1])).answer(), FastAPI()

    @app.post("/v1/complete")
    async def complete() -> Response:
        return Response(orjson.dumps(answer), media_type="application/json")

    @app.get("/livez")
    async def livez() -> Response:
        return Response(b"{}", media_type="application/json")

    return app


def main() -> None:
    """Serve as `kgservice serve` does."""
    settings = ServerSettings.load()
    config = uvicorn.Config(
        "tests.bench.bare:make", factory=True, port=0, workers=settings.workers, log_config=None, access_log=False
    )
    bound = config.bind_socket()
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"serving on http://127.0.0.1:{bound.getsockname()[1]}", flush=True)
    if settings.workers > 1:
        from uvicorn.supervisors import Multiprocess

        Multiprocess(config, sockets=[bound]).run()
    else:
        uvicorn.Server(config).run(sockets=[bound])


if __name__ == "__main__":
    main()

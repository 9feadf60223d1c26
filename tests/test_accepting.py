"""One socket, several loops: connections that come together are shared, and one that cannot be taken now is taken later."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from kgservice.server import accepting
from kgservice.server.accepting import EvenLoop


@pytest.fixture
def listening() -> Iterator[socket.socket]:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound


class Telling(asyncio.Protocol):
    """Says at once which loop has the connection."""

    def __init__(self, name: bytes) -> None:
        self._name = name

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._name)  # type: ignore[attr-defined]


class Running:
    """A loop in a thread that serves a socket."""

    def __init__(self, sock: socket.socket, name: bytes) -> None:
        self.loop, self.sock, ready = EvenLoop(), sock, threading.Event()

        async def serve() -> None:
            self.server: Any = await self.loop.create_server(lambda: Telling(name), sock=sock)
            ready.set()
            await self.over.wait()
            self.server.close()

        def run() -> None:
            asyncio.set_event_loop(self.loop)
            self.over = asyncio.Event()
            self.loop.run_until_complete(serve())
            self.loop.close()

        self.thread = threading.Thread(target=run)
        self.thread.start()
        assert ready.wait(10)

    def end(self) -> None:
        self.loop.call_soon_threadsafe(self.over.set)
        self.thread.join()
        self.sock.close()


def test_what_comes_together_is_shared(listening: socket.socket) -> None:
    with ExitStack() as stack:
        loops = [Running(listening.dup(), name) for name in (b"a", b"b")]
        for one in loops:
            stack.callback(one.end)
        clients = [stack.enter_context(socket.create_connection(listening.getsockname())) for _ in range(40)]
        has = Counter(client.recv(1) for client in clients)
    assert sum(has.values()) == 40
    assert min(has[b"a"], has[b"b"]) >= 5


def test_what_the_system_has_no_room_for_is_taken_later(
    listening: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([errno.EMFILE, errno.ECONNABORTED, errno.EMFILE])

    class Full(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            if (refusal := next(refusals, None)) is not None:
                raise OSError(refusal, "refused")
            return super().accept()

    monkeypatch.setattr(accepting, "PAUSE_S", 0.01)
    running = Running(Full(fileno=listening.dup().detach()), b"a")
    try:
        with socket.create_connection(listening.getsockname(), timeout=10) as client:
            assert client.recv(1) == b"a"
        assert running.server.sockets
    finally:
        running.end()
    assert not running.server.sockets
    assert next(refusals, None) is None


def test_an_address_is_served_as_by_every_loop() -> None:
    loop = EvenLoop()

    async def serve() -> int:
        server = await loop.create_server(lambda: Telling(b"x"), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=10):
            server.close()
            await server.wait_closed()
        return int(port)

    assert loop.run_until_complete(serve())
    loop.close()

"""Connections that several processes take from one socket, evenly.

A loop takes all connections that wait as it looks, so that whoever comes first has most of them: of four, often all four. Clients
keep their connections, and with what one process has the others cannot help.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from socket import socket
from typing import Any

import uvloop

TURN_S = 0.001
"""Between two connections, so that other processes, which take longer than a turn of the loop to wake, come in between."""
PAUSE_S = 1.0
"""The same where the system has no room for more."""


class EvenLoop(uvloop.Loop):
    """A loop whose servers take one connection at a time, and let other processes take the next."""

    async def create_server(
        self,
        protocol_factory: Callable[[], asyncio.BaseProtocol],
        host: Any = None,
        port: Any = None,
        *,
        sock: socket | None = None,
        backlog: int = 100,
        ssl: Any = None,
        **options: Any,
    ) -> Any:
        """As every loop's; over a plain `sock` it takes connections one by one."""
        if sock is None or ssl is not None:
            return await super().create_server(
                protocol_factory, host, port, sock=sock, backlog=backlog, ssl=ssl, **options
            )
        sock.setblocking(False)
        sock.listen(backlog)
        return Accepting(self, sock, protocol_factory)


class Accepting:
    """What stands for an `asyncio.Server`.

    Args:
        loop: that waits.
        sock: listens already; it is not closed here.
        protocol_factory: makes what speaks over each connection.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, sock: socket, protocol_factory: Callable[[], asyncio.BaseProtocol]
    ) -> None:
        self._loop, self._sock, self._protocol_factory = loop, sock, protocol_factory
        self._begun: set[asyncio.Task[Any]] = set()
        self._open = True
        loop.add_reader(sock, self._take)

    @property
    def sockets(self) -> tuple[socket, ...]:
        """Where it listens."""
        return (self._sock,) if self._open else ()

    def close(self) -> None:
        """Take no more."""
        self._open = False
        self._loop.remove_reader(self._sock)

    async def wait_closed(self) -> None:
        """Until what was begun has begun."""
        await asyncio.gather(*self._begun, return_exceptions=True)

    def _take(self) -> None:
        try:
            connection, _ = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):  # another process has it, or it is gone
            return
        except OSError:  # too many files are open, and it would be told of the same connection again and again
            self._wait(PAUSE_S)
            return
        connection.setblocking(False)
        begun = self._loop.create_task(self._loop.connect_accepted_socket(self._protocol_factory, connection))
        self._begun.add(begun)
        begun.add_done_callback(self._begun.discard)
        self._wait(TURN_S)

    def _wait(self, seconds: float) -> None:
        self._loop.remove_reader(self._sock)
        self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        if self._open:
            self._loop.add_reader(self._sock, self._take)

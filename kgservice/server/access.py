"""Who may do what: API keys and tokens, their scopes, and how many requests each may send.

Keys are asked for as soon as one exists. While there is none, a server that only this machine can reach is open; one that listens
beyond it answers questions and refuses changes, until a key is made or `KGSERVICE_KEYS=off` says that something else guards it.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from kgservice.server.oidc import Bearer, Issuer
from kgservice.server.problems import RequestProblem, request_id_of, respond
from kgservice.server.settings import ServerSettings
from kgservice.store.keys import Key, Keys, Scope, verify

logger = logging.getLogger(__name__)

OPEN = ("/", "/api", "/livez", "/readyz", "/openapi.json", "/problems", "/console")
"""Paths, and what lies below all but the first, that need no key: they say nothing of the graph."""
QUESTIONS = (
    *("/v1/complete", "/v1/classify", "/v1/explain", "/v1/search", "/v1/types"),
    *("/sparql", "/reconcile", "/mcp"),
)
"""What is asked with POST."""
CONVERSATIONS = ("/mcp",)
"""Where DELETE ends no more than a session."""
UPDATES = ("/sparql/update",)
"""What changes something below a question's path."""
ADMINISTRATION = ("/v1/releases",)
"""Where anything but GET decides what is served."""

CLIENTS = 10_000
"""Clients whose requests are counted at once."""
WINDOW_S = 60.0
RATE_HEADERS = ("RateLimit-Limit", "RateLimit-Remaining", "RateLimit-Reset", "RateLimit-Policy")


@lru_cache(4096)
def needed(method: str, path: str) -> Scope | None:
    """The scope that a request takes; None where it takes no key. What is not listed here and changes something is a write."""
    if path == "/" or _below(path, OPEN[1:]):
        return None
    if _below(path, UPDATES):
        return Scope.WRITE
    if (
        method in ("GET", "HEAD", "OPTIONS")
        or _below(path, CONVERSATIONS)
        or (method == "POST" and _below(path, QUESTIONS))
    ):
        return Scope.READ
    return Scope.ADMIN if _below(path, ADMINISTRATION) else Scope.WRITE


def is_loopback(host: str) -> bool:
    """Whether an address to listen on can be reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Allowance:
    """What a client may still send.

    Attributes:
        limit: requests per minute.
        remaining: how many at once from now.
        reset_s: seconds until all of them are free again.
        wait_s: seconds until the next one is; 0 where it is now.
    """

    limit: int
    remaining: int
    reset_s: float
    wait_s: float


class Rates:
    """Requests per minute of each client, kept as one moment: when its last request will have been paid off (GCRA)."""

    def __init__(self) -> None:
        self._paid: dict[str, float] = {}

    def take(self, client: str, per_minute: float, now: float) -> Allowance:
        """Count one request, unless it is one too many.

        Args:
            client: whose.
            per_minute: its limit; so many may come at once after a minute of rest.
            now: seconds on a clock that never goes back.
        """
        each = WINDOW_S / per_minute
        paid = max(self._paid.get(client, now), now) + each
        ahead = paid - now
        wait = max(0.0, ahead - max(WINDOW_S, each))
        if wait <= 1e-9:
            if len(self._paid) >= CLIENTS:
                self._forget(now)
            self._paid[client] = paid
        else:
            ahead -= each
        return Allowance(math.floor(per_minute), max(0, math.floor((WINDOW_S - ahead) / each + 1e-6)), ahead, wait)

    def _forget(self, now: float) -> None:
        """Those that have rested; where all are busy, the half that will be free the soonest."""
        busy = sorted((paid, client) for client, paid in self._paid.items() if paid > now)
        self._paid = {client: paid for paid, client in busy[-CLIENTS // 2 :]}


class Access:
    """The keys that are valid now, and what each client has sent.

    Args:
        settings: of the server.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._keys: Keys | None = None
        self._valid: Mapping[str, Key] = {}
        self._rates = Rates()
        self._exposed = not is_loopback(settings.host)
        self._issuer: Issuer | None = None
        if settings.oidc_issuer is not None and settings.oidc_audience is not None:
            self._issuer = Issuer(
                settings.oidc_issuer, settings.oidc_audience, settings.oidc_claim, dict(settings.oidc_scopes)
            )

    def refresh(self) -> None:
        """Read the keys, and those of the issuer of tokens; may wait for a disk or a network."""
        if self._settings.keys == "off":
            return
        if self._keys is None:
            url = self._settings.database_url
            self._keys = Keys.open(self._settings.home, url.get_secret_value() if url else None)
        if self._keys is not None:
            self._valid = {key.id: key for key in self._keys.all() if key.revoked is None}
        if self._issuer is not None:
            self._issuer.refresh()

    def close(self) -> None:
        """Close the connections."""
        if self._keys is not None:
            self._keys.close()

    @property
    def asked(self) -> bool:
        """Whether keys are asked for."""
        some = bool(self._valid) or self._issuer is not None
        return self._settings.keys == "required" or (self._settings.keys == "auto" and some)

    def warn(self) -> None:
        """Say at start what a server without keys allows to others."""
        if self._exposed and not self.asked:
            changes = "changes too" if self._settings.keys == "off" else "changes are refused until a key is made"
            logger.warning(
                "listening on %s without keys: whoever reaches it may ask questions, %s; see `kgservice key add`",
                self._settings.host,
                changes,
            )

    def admit(self, scope: Scope, headers: Iterable[tuple[bytes, bytes]]) -> Key | Bearer | None:
        """The key or token of a request that may do what takes `scope`; None where it may without one.

        Args:
            scope: what the request takes.
            headers: as ASGI has them; on the way of every request, so that they are looked at once.

        Raises:
            RequestProblem: 401 without a valid key, 403 where its scope is not enough.
        """
        if self._settings.keys == "off":
            return None
        given = _given(headers)
        if given is not None:
            token = self._issuer is not None and given.count(".") == 2  # a key has no dots
            key = self._issuer.verify(given) if self._issuer is not None and token else verify(given, self._valid)
            if key is None:
                raise RequestProblem(
                    "invalid-key",
                    "The key is not valid here, or was revoked.",
                    {"WWW-Authenticate": 'Bearer realm="kgservice", error="invalid_token"'},
                )
            if key.scope is None or not key.scope.covers(scope):
                held = key.scope.value if key.scope else "none"
                kind, whose = ("token", "the token") if token else ("key", f"key {key.id}")
                raise RequestProblem(
                    "scope-too-small",
                    f"This takes a {kind} of scope {scope.value}; {whose} has {held}.",
                    {
                        "WWW-Authenticate": f'Bearer realm="kgservice", error="insufficient_scope", scope="{scope.value}"'
                    },
                )
            return key
        if not self.asked:
            if scope is not Scope.READ and self._exposed:
                raise RequestProblem(
                    "no-keys",
                    "This server listens beyond its own machine and has no keys, so that it takes no changes. Make one with "
                    "`kgservice key add NAME --scope write`, or set KGSERVICE_KEYS=off where something else guards it.",
                )
            return None
        if scope is Scope.READ and self._settings.open_reads:
            return None
        raise RequestProblem(
            "key-required",
            f"This takes a key of scope {scope.value}: Authorization: Bearer kgs_…"
            f"{', or a token of its issuer' if self._issuer is not None else ''}.",
            {"WWW-Authenticate": 'Bearer realm="kgservice"'},
        )

    def count(self, key: Key | Bearer | None, address: str) -> Allowance | None:
        """Count a request; None where there is no limit."""
        limit = key.rate_per_minute if key and key.rate_per_minute else self._settings.rate_per_minute
        if not limit:
            return None
        share = limit / self._settings.workers
        return self._rates.take(key.id if key else f"ip {address}", share, time.monotonic())


class Gate:
    """ASGI middleware that asks `Access` before anything of a body is read.

    Args:
        app: what answers.
        access: who may.
    """

    def __init__(self, app: ASGIApp, *, access: Access) -> None:
        self.app, self.access = app, access

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Answer one request, or refuse it."""
        if scope["type"] != "http" or scope["method"] == "OPTIONS":
            await self.app(scope, receive, send)
            return
        takes = needed(scope["method"], scope["path"])
        if takes is None:
            await self.app(scope, receive, send)
            return
        try:
            told = self._admitted(takes, scope)
        except RequestProblem as problem:
            response = respond(problem.slug, problem.detail, request_id_of(Request(scope)), headers=problem.headers)
            await response(scope, receive, send)
            return

        async def telling(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(told)
            await send(message)

        await self.app(scope, receive, telling if told else send)

    def _admitted(self, takes: Scope, scope: AsgiScope) -> dict[str, str]:
        """The headers that tell of a limit, where there is one."""
        key = self.access.admit(takes, scope["headers"])
        client = scope.get("client")
        allowance = self.access.count(key, client[0] if client else "-")
        if allowance is None:
            return {}
        told = _told(allowance)
        if allowance.wait_s > 0:
            wait = str(math.ceil(allowance.wait_s))
            detail = f"More than {allowance.limit:,} requests in a minute. The next one may come in {wait} s."
            raise RequestProblem("too-many-requests", detail, {**told, "Retry-After": wait})
        return told


def _told(allowance: Allowance) -> dict[str, str]:
    """The headers of draft-ietf-httpapi-ratelimit-headers-06."""
    values = allowance.limit, allowance.remaining, math.ceil(allowance.reset_s), f"{allowance.limit};w={WINDOW_S:g}"
    return dict(zip(RATE_HEADERS, map(str, values), strict=True))


def _given(headers: Iterable[tuple[bytes, bytes]]) -> str | None:
    """The key that a request carries."""
    own = None
    for name, value in headers:
        if name == b"authorization":
            scheme, _, text = value.decode("latin-1").partition(" ")
            if scheme.lower() == "bearer":
                return text.strip()
        elif name == b"x-api-key":
            own = value.decode("latin-1")
    return own


def _below(path: str, roots: tuple[str, ...]) -> bool:
    return any(path == root or path.startswith(f"{root}/") for root in roots)

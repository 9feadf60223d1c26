"""Bearer tokens of an OpenID Connect issuer: who it says the caller is, and what its scopes allow here.

Tokens are verified by published keys, which are read beside the requests and never for one: no request waits for another
server, and a flood of tokens with invented key ids costs the issuer one look in `COOLDOWN_S`.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
import jwt

from kgservice.server.problems import RequestProblem
from kgservice.server.settings import is_safe
from kgservice.store.keys import Scope

logger = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signed by a key that the issuer alone has; none that a reader of the published keys could sign with."""
LIFE_S = 300.0
"""How long published keys are believed before they are read again."""
COOLDOWN_S = 30.0
"""The least time between two looks that unknown key ids, or an issuer that does not answer, cause."""
LEEWAY_S = 30.0
"""How far clocks may differ."""
TIMEOUT_S = 5.0
REMEMBERED = 4096
"""Verified tokens that need no second look until they expire."""


@dataclass(frozen=True)
class Bearer:
    """Whom a token speaks of.

    Attributes:
        id: the issuer's name of them, with a mark before it that no key has.
        scope: the largest that the token has; None where it has none that counts here.
        expires: seconds since 1970.
        rate_per_minute: None: the server's limit holds.
    """

    id: str
    scope: Scope | None
    expires: float
    rate_per_minute: int | None = None


class Issuer:
    """One issuer, and its keys as they were read last.

    Args:
        address: as its tokens name it in `iss`; its document lies below, at `.well-known/openid-configuration`.
        audience: what tokens for this service name in `aud`.
        claim: where scopes stand in a token; dots lead into objects, such as `realm_access.roles`.
        scopes: what each scope is called by the issuer.
    """

    def __init__(self, address: str, audience: str, claim: str, scopes: Mapping[Scope, str]) -> None:
        self.address, self.audience, self.claim, self.scopes = address, audience, claim, scopes
        self._keys: dict[str, jwt.PyJWK] = {}
        self._read = self._tried = -float("inf")
        self._wanted = False
        self._verified: dict[bytes, Bearer] = {}

    def refresh(self) -> None:
        """Read the published keys where they are old, or one is missing; waits for the network.

        Where they cannot be read, those that were read before stay.
        """
        now = time.monotonic()
        if now - self._tried < COOLDOWN_S or not (self._wanted or now - self._read >= LIFE_S):
            return
        self._tried, self._wanted = now, False
        try:
            with httpx.Client(timeout=TIMEOUT_S) as client:
                told = _object(client.get(f"{self.address.rstrip('/')}/.well-known/openid-configuration"))
                if told.get("issuer") != self.address:
                    raise ValueError(f"the document there is of {told.get('issuer')!r}")
                if not is_safe(str(told.get("jwks_uri"))):
                    raise ValueError(f"its keys would come over an open line, from {told.get('jwks_uri')!r}")
                published = jwt.PyJWKSet.from_dict(_object(client.get(str(told["jwks_uri"]))))
        except (httpx.HTTPError, jwt.PyJWTError, ValueError) as error:
            logger.warning("the keys of %s cannot be read: %s: %s", self.address, type(error).__name__, error)
            return
        self._keys = {key.key_id: key for key in published.keys if key.key_id and key.public_key_use in (None, "sig")}
        self._verified, self._read = {}, now  # what a withdrawn key has signed is no longer believed
        logger.info("%s has %d keys", self.address, len(self._keys))

    def verify(self, token: str) -> Bearer:
        """Whom a token speaks of.

        Raises:
            RequestProblem: 401 where it is not this issuer's, not for this service, or over; 503 while no keys were read.
        """
        if not self._keys:
            raise RequestProblem(
                "no-issuer",
                "The keys of the tokens' issuer have not been read yet.",
                {"Retry-After": str(int(COOLDOWN_S))},
            )
        mark = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._verified.get(mark)
        if known is not None and known.expires > time.time() - LEEWAY_S:
            return known
        try:
            key = self._keys.get(str(jwt.get_unverified_header(token).get("kid")))
            if key is None:
                self._wanted = True
                raise _refused("It is signed by a key that its issuer has not published.")
            claims = jwt.decode(
                token, key, list(ALGORITHMS), audience=self.audience, issuer=self.address, leeway=LEEWAY_S,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )  # fmt: skip
        except jwt.ExpiredSignatureError:
            raise _refused("It has expired.") from None
        except jwt.PyJWTError as error:
            raise _refused(f"{error}.") from None
        found = Bearer(f"oidc {claims['sub']}", self._scope(claims), float(claims["exp"]))
        if len(self._verified) >= REMEMBERED:
            self._verified = {}
        self._verified[mark] = found
        return found

    def _scope(self, claims: Mapping[str, Any]) -> Scope | None:
        """The largest scope that a token has."""
        held: Any = claims
        for part in self.claim.split("."):
            held = held.get(part) if isinstance(held, Mapping) else None
        names = held.split() if isinstance(held, str) else held if isinstance(held, list) else []
        return max((scope for scope, name in self.scopes.items() if name in names), key=list(Scope).index, default=None)


def _object(response: httpx.Response) -> dict[str, Any]:
    response.raise_for_status()
    found = response.json()
    if not isinstance(found, dict):
        raise ValueError(f"{response.url} gives no object")
    return found


def _refused(why: str) -> RequestProblem:
    return RequestProblem(
        "invalid-key",
        f"The token is not valid here. {why}",
        {"WWW-Authenticate": 'Bearer realm="kgservice", error="invalid_token"'},
    )

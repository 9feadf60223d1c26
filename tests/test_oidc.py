"""Tokens of an OpenID Connect issuer: a real one on a socket of this machine, with keys of its own that it changes."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.testclient import TestClient

from kgservice.engine import Engine
from kgservice.errors import RecipeError
from kgservice.server import oidc
from kgservice.server.app import create_app
from kgservice.server.settings import ServerSettings
from kgservice.store.keys import Keys, Scope

QUESTION = {"subject": "world:France", "relation": "world:borders", "k": 2}
AUDIENCE = "https://kgservice.example"


class LocalIssuer:
    """Signs tokens, and publishes what verifies them."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {
            "first": rsa.generate_private_key(65537, 2048),
            "curve": ec.generate_private_key(ec.SECP256R1()),
        }
        self.reads = 0
        self.says: str | None = None
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                found = outer.document() if self.path == "/.well-known/openid-configuration" else outer.published()
                content = json.dumps(found).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self) -> dict[str, str]:
        return {"issuer": self.says or self.address, "jwks_uri": f"{self.address}/keys"}

    def published(self) -> dict[str, Any]:
        self.reads += 1
        shown = []
        for kid, key in self.keys.items():
            algorithm = jwt.get_algorithm_by_name("RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256")
            shown.append({**json.loads(algorithm.to_jwk(key.public_key())), "kid": kid, "use": "sig"})  # type: ignore[attr-defined]
        return {"keys": shown}

    def token(self, scope: str = "", *, kid: str = "first", key: Any = None, **changes: Any) -> str:
        now = int(time.time())
        claims = {
            "iss": self.address,
            "aud": AUDIENCE,
            "sub": "ada",
            "iat": now,
            "exp": now + 600,
            "scope": scope,
            **changes,
        }
        key = key or self.keys[kid]
        algorithm = (
            "RS256" if isinstance(key, rsa.RSAPrivateKey) else "ES256" if not isinstance(key, (str, bytes)) else "HS256"
        )
        kept = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(kept, key, algorithm, headers={"kid": kid})


@pytest.fixture
def issuer() -> Iterator[LocalIssuer]:
    issuer = LocalIssuer()
    yield issuer
    issuer.server.shutdown()
    issuer.server.server_close()


def served(engine: Engine, issuer: LocalIssuer, home: Path, **settings: Any) -> TestClient:
    given = {"home": home, "oidc_issuer": issuer.address, "oidc_audience": AUDIENCE, **settings}
    return TestClient(create_app(engine, ServerSettings.model_validate(given)))


def ask(
    client: TestClient, token: str | None, method: str = "POST", path: str = "/v1/complete", body: Any = QUESTION
) -> Any:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return client.request(method, path, json=body, headers=headers)


def test_a_tokens_scopes_are_what_it_may(engine: Engine, issuer: LocalIssuer, tmp_path: Path) -> None:
    with served(engine, issuer, tmp_path) as client:
        assert ask(client, None).json()["type"] == "/problems/key-required"  # tokens are asked for as keys are
        reader = issuer.token("openid kgservice:read")
        assert ask(client, reader).status_code == 200
        assert ask(client, issuer.token("kgservice:read", kid="curve")).status_code == 200
        put = {"labels": {"en": "Newport"}}
        few = ask(client, reader, "PUT", "/v1/entities/world:New", put)
        assert (few.status_code, few.json()["type"]) == (403, "/problems/scope-too-small")
        assert few.json()["detail"] == "This takes a token of scope write; the token has read."
        assert 'scope="write"' in few.headers["WWW-Authenticate"]
        assert (
            ask(client, issuer.token("profile")).json()["detail"]
            == "This takes a token of scope read; the token has none."
        )
        writer = issuer.token("kgservice:write kgservice:read")
        assert ask(client, writer, "POST", "/v1/releases/rollback", None).json()["type"] == "/problems/scope-too-small"
        keys = Keys.open(tmp_path, make=True)
        assert keys is not None
        text = keys.add("script", Scope.READ)[1]
        client.app.state.service.access.refresh()  # type: ignore[attr-defined]
        assert ask(client, text).status_code == 200  # keys go on beside tokens
        keys.close()
        assert issuer.reads == 1  # published keys are read once, not for a request


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"exp": int(time.time()) - 3600}, "It has expired."),
        ({"aud": "https://other.example"}, "Audience doesn't match."),
        ({"iss": "https://other.example"}, "Invalid issuer."),
        ({"nbf": int(time.time()) + 3600}, "The token is not yet valid (nbf)."),
        ({"sub": None}, 'Token is missing the "sub" claim.'),
        ({"exp": None}, 'Token is missing the "exp" claim.'),
        ({"kid": "unknown", "key": rsa.generate_private_key(65537, 2048)}, "signed by a key that its issuer has not published."),
        ({"key": rsa.generate_private_key(65537, 2048)}, "Signature verification failed."),
        ({"key": "a secret that is long enough for sha-256 to take"}, "The specified alg value is not allowed."),
    ],
    ids=["expired", "audience", "issuer", "early", "nobody", "endless", "unknown key", "forged", "symmetric"],
)  # fmt: skip
def test_what_is_not_the_issuers_is_refused(
    engine: Engine, issuer: LocalIssuer, tmp_path: Path, changes: dict[str, Any], told: str
) -> None:
    with served(engine, issuer, tmp_path) as client:
        answer = ask(client, issuer.token("kgservice:admin", **changes))
        assert (answer.status_code, answer.json()["type"]) == (401, "/problems/invalid-key")
        assert told in answer.json()["detail"]
        assert 'error="invalid_token"' in answer.headers["WWW-Authenticate"]


def test_unsigned_and_broken_tokens_are_refused(engine: Engine, issuer: LocalIssuer, tmp_path: Path) -> None:
    with served(engine, issuer, tmp_path) as client:
        bare = jwt.encode(
            {"sub": "ada", "iss": issuer.address, "aud": AUDIENCE, "exp": time.time() + 60},
            None,
            "none",
            {"kid": "first"},
        )
        for token in (bare, "a.b.c", "..", f"{issuer.token('kgservice:read')}x"):
            assert ask(client, token).status_code == 401, token


def test_a_new_key_is_believed_and_a_withdrawn_one_no_longer(
    engine: Engine, issuer: LocalIssuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc, "COOLDOWN_S", 0.0)
    with served(engine, issuer, tmp_path, release_poll_s=3600) as client:
        access = client.app.state.service.access  # type: ignore[attr-defined]
        old = issuer.token("kgservice:read")
        assert ask(client, old).status_code == 200
        issuer.keys = {"second": rsa.generate_private_key(65537, 2048)}
        new = issuer.token("kgservice:read", kid="second")
        assert ask(client, new).status_code == 401
        access.refresh()  # the next look, which the unknown key has asked for
        assert ask(client, new).status_code == 200
        assert ask(client, old).status_code == 401
        reads = issuer.reads
        monkeypatch.setattr(oidc, "COOLDOWN_S", 30.0)
        access.refresh()
        assert issuer.reads == reads  # whoever invents names of keys has the issuer asked now and then at most


def test_an_issuer_that_says_another_name_or_nothing_has_no_keys(
    engine: Engine, issuer: LocalIssuer, tmp_path: Path, caplog: Any
) -> None:
    issuer.says = "https://other.example"
    with served(engine, issuer, tmp_path) as client:
        answer = ask(client, issuer.token("kgservice:read"))
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/no-issuer")
        assert answer.headers["Retry-After"] == "30"
    assert "the document there is of 'https://other.example'" in caplog.text


def test_roles_may_stand_elsewhere_under_other_names(engine: Engine, issuer: LocalIssuer, tmp_path: Path) -> None:
    named = {"oidc_claim": "realm_access.roles", "oidc_scopes": "read=graph-reader, admin=graph-owner"}
    with served(engine, issuer, tmp_path, **named) as client:
        assert ask(client, issuer.token(realm_access={"roles": ["graph-reader"]})).status_code == 200
        assert ask(client, issuer.token("kgservice:read")).json()["type"] == "/problems/scope-too-small"
        owner = issuer.token(realm_access={"roles": ["x", "graph-owner", "graph-reader"]})
        assert ask(client, owner, "POST", "/v1/releases/rollback", None).json()["type"] != "/problems/scope-too-small"
        assert ask(client, issuer.token(realm_access="graph-reader")).status_code == 403


def test_each_caller_has_a_limit_of_their_own(engine: Engine, issuer: LocalIssuer, tmp_path: Path) -> None:
    with served(engine, issuer, tmp_path, rate_per_minute=2) as client:
        ada, ben = (issuer.token("kgservice:read", sub=name) for name in ("ada", "ben"))
        assert [ask(client, ada).status_code for _ in range(3)] == [200, 200, 429]
        assert ask(client, ben).status_code == 200


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"OIDC_ISSUER": "https://id.example"}, "KGSERVICE_OIDC_ISSUER and KGSERVICE_OIDC_AUDIENCE are given together"),
        ({"OIDC_ISSUER": "http://id.example", "OIDC_AUDIENCE": "x"}, "expected https://"),
        ({"OIDC_ISSUER": "https://id.example", "OIDC_AUDIENCE": "x", "KEYS": "off"}, "KGSERVICE_KEYS=off"),
        ({"OIDC_SCOPES": "reed=x"}, "KGSERVICE_OIDC_SCOPES: expected read=NAME,write=NAME,admin=NAME, not 'reed'"),
    ],
)
def test_settings_that_do_not_go_together_are_told(given: dict[str, str], told: str) -> None:
    with pytest.raises(RecipeError, match=told):
        ServerSettings.load({f"KGSERVICE_{name}": value for name, value in given.items()})


def test_settings_are_shown_as_they_are_given() -> None:
    shown = ServerSettings().shown()
    assert shown["oidc_scopes"] == "read=kgservice:read, write=kgservice:write, admin=kgservice:admin"

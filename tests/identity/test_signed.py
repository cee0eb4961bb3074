"""Tokens signed by a real key, and a key set that is served over real HTTP."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from interlock.errors import KeySetError, Unauthorized
from interlock.identity import Claims, SignedTokens, digest
from interlock.identity.key_set import fetch, refresh

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
CLAIMS = {"iss": "https://id.example", "aud": "interlock", "sub": "ann", "tenant": "acme", "role": "admin"}


LIFETIME = 24 * 3600.0  # parameters of tests are made long before they are used


def token(key: Any = KEY, kid: str = "k1", algorithm: str = "RS256", **claims: Any) -> bytes:
    said = {
        name: value for name, value in (CLAIMS | {"exp": time.time() + LIFETIME} | claims).items() if value is not None
    }
    return jwt.encode(said, key, algorithm, headers={"kid": kid}).encode()


def tokens(claims: Claims | None = None, **fields: Any) -> SignedTokens:
    fields = {"keys": {"k1": KEY.public_key()}} | fields
    return SignedTokens(claims or Claims(), ["RS256"], "https://id.example", "interlock", **fields)


def read(reader: SignedTokens, presented: bytes) -> Any:
    return reader.identify(presented, digest(presented))


def test_claims_become_an_identity() -> None:
    found = read(tokens(), token())
    assert (found.key, found.tenant, found.role) == ("jwt:ann", "acme", "admin")
    nested = Claims("org.id", "azp", "realm_access.roles", {"root": "admin", "staff": "operator"}, "fallback")
    said = {"tenant": None, "azp": "app", "realm_access": {"roles": ["staff", "x"]}}
    assert read(tokens(nested), token(org={"id": "deep"}, **said)).tenant == "deep"
    found = read(tokens(nested), token(**said))
    assert (found.key, found.tenant, found.role) == ("jwt:app", "fallback", "operator")
    assert read(tokens(nested), token(azp="app", realm_access={"roles": "nonsense"})).role == "viewer"


@pytest.mark.parametrize(
    ("presented", "why"),
    [
        (token(OTHER), "Signature verification failed"),
        (token(exp=time.time() - 100), "expired"),
        (token(exp=None), "exp"),
        (token(aud="others"), "Audience"),
        (token(iss="https://evil.example"), "issuer"),
        (token(kid="k9"), "not known here"),
        (token(tenant=None), "no claim 'tenant'"),
        (token(sub=None), "no claim 'sub'"),
        (b"a.b.c", "not accepted"),
        (b"x" * 20_000 + b"..", "longer than"),
        (
            jwt.encode(CLAIMS | {"exp": time.time() + LIFETIME}, None, "none", headers={"kid": "k1"}).encode(),
            "not accepted",
        ),
    ],
)
def test_what_is_refused(presented: bytes, why: str) -> None:
    with pytest.raises(Unauthorized, match=why) as refused:
        read(tokens(), presented)
    assert refused.value.code == "invalid_token"


def test_the_public_key_is_no_shared_secret() -> None:
    """An attacker who knows the public key signs with it as if it were a secret (RFC 8725, 2.1)."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    import base64
    import hashlib
    import hmac

    def part(value: Any) -> bytes:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=")

    body = part({"alg": "HS256", "kid": "k1"}) + b"." + part(CLAIMS | {"exp": time.time() + LIFETIME})
    forged = body + b"." + base64.urlsafe_b64encode(hmac.new(pem, body, hashlib.sha256).digest()).rstrip(b"=")
    with pytest.raises(Unauthorized):
        read(tokens(keys={"k1": pem}), forged)


def test_a_good_token_is_remembered_until_it_expires(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    reader = tokens(clock=lambda: now)
    presented = token(exp=now + 60)
    read(reader, presented)
    monkeypatch.setattr(reader, "_verified", None)  # it is not looked at again
    read(reader, presented)
    now += 120
    with pytest.raises(Unauthorized) as refused:
        read(reader, presented)
    assert refused.value.code == "expired_token"


class KeySet(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("location", "/keys")
            self.end_headers()
            return
        entries = [
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(KEY.public_key())) | {"kid": "k1", "use": "sig"},
            {"kty": "oct", "k": "c2VjcmV0", "kid": "k2"},
            json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(OTHER.public_key())) | {"kid": "k3", "use": "enc"},
        ]
        content = {
            "/keys": json.dumps({"keys": entries}).encode(),
            "/empty": b'{"keys": []}',
            "/huge": b" " * 2_000_000,
        }.get(self.path, b"<html>")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), KeySet)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


async def test_the_issuers_keys_are_fetched(issuer: str) -> None:
    reader = tokens(keys={}, url=f"{issuer}/keys")
    with pytest.raises(Unauthorized):
        read(reader, token())
    assert reader.missed
    await refresh(reader)
    assert read(reader, token()).key == "jwt:ann"
    assert list(reader.keys) == ["k1"]  # neither a shared secret nor a key for encryption
    reader.url = f"{issuer}/broken"
    await refresh(reader)
    assert read(reader, token()).key == "jwt:ann"


@pytest.mark.parametrize(
    ("path", "why"), [("elsewhere", "redirects"), ("empty", "no public key"), ("huge", "larger"), ("x", "DecodeError")]
)
def test_a_key_set_that_cannot_be_used_says_why(issuer: str, path: str, why: str) -> None:
    with pytest.raises(KeySetError, match=why):
        fetch(f"{issuer}/{path}")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://169.254.169.254/latest/meta-data", "link-local"),
        ("https://[fe80::1]/keys", "link-local"),
        ("https://0.0.0.0/keys", "link-local"),
        ("http://192.0.2.1/keys", "must be https"),
        ("https://user:secret@127.0.0.1/keys", "credentials"),
        ("https://nowhere.invalid/keys", "cannot be resolved"),
    ],
)
def test_addresses_that_are_never_asked(url: str, why: str) -> None:
    with pytest.raises(KeySetError, match=why):
        fetch(url)

"""A sign-in provider on this machine that speaks OpenID Connect: one person, one client, keys of its own."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import RSAKey

CLIENT = "dermlens"
SECRET = "only-for-this-test"


class Provider:
    """What it knows: the keys, the codes it gave out, and what it was asked."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.published = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
        self.signing = self.published
        self.codes: dict[str, dict[str, str]] = {}
        self.asked: list[str] = []

    def discovery(self) -> dict[str, object]:
        """Return what stands at /.well-known/openid-configuration."""
        return {
            "issuer": self.address,
            "authorization_endpoint": f"{self.address}/authorize",
            "token_endpoint": f"{self.address}/token",
            "jwks_uri": f"{self.address}/jwks",
            "end_session_endpoint": f"{self.address}/logout",
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }

    def authorize(self, query: dict[str, str]) -> str:
        """Return a page with a link back, which carries a code."""
        code = secrets.token_urlsafe()
        self.codes[code] = query
        back = f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"
        return f'<!doctype html><title>Provider</title><a href="{back.replace("&", "&amp;")}">Continue as Ada</a>'

    def token(self, form: dict[str, str], authorization: str) -> dict[str, object]:
        """Return the tokens for a code; KeyError or AssertionError if anything is not as it was asked for."""
        asked = self.codes.pop(form["code"])
        assert base64.b64decode(authorization.removeprefix("Basic ")).decode() == f"{CLIENT}:{SECRET}"
        digest = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(digest).decode().rstrip("=") == asked["code_challenge"]
        now = int(time.time())
        claims = {"iss": self.address, "aud": CLIENT, "sub": "7", "iat": now, "exp": now + 600}
        claims |= {"nonce": asked["nonce"], "email": "ada@example.org"}
        signed = jwt.encode({"alg": "RS256", "kid": "1"}, claims, self.signing)
        return {"access_token": secrets.token_urlsafe(), "token_type": "Bearer", "expires_in": 600, "id_token": signed}


@contextmanager
def provide() -> Iterator[Provider]:
    """Run a provider on a free port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            provider.asked.append(url.path)
            if url.path == "/.well-known/openid-configuration":
                self._say(json.dumps(provider.discovery()), "application/json")
            elif url.path == "/jwks":
                self._say(json.dumps({"keys": [provider.published.as_dict(private=False)]}), "application/json")
            elif url.path == "/authorize":
                self._say(provider.authorize(query), "text/html")
            elif url.path == "/logout":
                self.send_response(302)
                self.send_header("Location", query["post_logout_redirect_uri"])
                self.end_headers()
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            form = {name: values[0] for name, values in parse_qs(body).items()}
            self._say(json.dumps(provider.token(form, self.headers["Authorization"])), "application/json")

        def _say(self, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        provider = Provider(f"http://localhost:{server.server_port}")
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield provider
        finally:
            server.shutdown()

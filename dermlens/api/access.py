"""Who may use the API: this machine alone, or who brings a token of the sign-in provider."""

import base64
import ipaddress
import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import requests
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet
from starlette.datastructures import Headers

from dermlens.api.problems import Refusal
from dermlens.errors import ConfigError, DataError
from dermlens.files.documents import Document, read_object

LOCAL = "local"
"""Who asks where nobody signs in."""
LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
FORWARDING = frozenset(
    ("forwarded", "via", "x-real-ip", "cf-connecting-ip", "true-client-ip", "x-client-ip", "x-cluster-client-ip")
)
"""Headers that a proxy adds; so are all that begin with FORWARDING_BEGIN."""
FORWARDING_BEGIN = ("x-forwarded", "x-original-")
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""How a token may be signed: with a key pair, never with a shared secret or not at all."""
LEEWAY = 60
"""Seconds that the clocks of server and provider may differ."""
REFETCH = 60.0
"""Least seconds between two times that the provider is asked for its keys."""
FIRST_WAIT = 3.0
"""Most seconds that a request waits while another one asks a provider for its first keys."""
MOST = 2**20
"""Most bytes of a document of the provider."""
_TIMEOUT = 10.0

logger = logging.getLogger(__name__)

Guard = Callable[[Headers, str | None], str]
"""Returns who asks, from a request's headers and the address that it comes from; raises Refusal where nobody may."""


def only_here(headers: Headers, peer: str | None) -> str:
    """Let requests of this machine in, and none that came through a proxy or from another site's page.

    Args:
        headers: of the request. peer: the address at the other end of the connection, None if it has none.

    Raises:
        Refusal: any other request.
    """
    if peer is None or not _is_loopback(peer):
        raise _forbidden("the request comes from another one")
    forwarded = [h for h in headers if h in FORWARDING or h.startswith(FORWARDING_BEGIN)]
    if forwarded:
        raise _forbidden(f"the request was forwarded (it has the header {forwarded[0][:40]})")
    host = _name(headers.get("host", ""))
    if host not in LOCAL_HOSTS:
        raise _forbidden(f"it was asked for as {host[:80]!r}")
    origin = headers.get("origin")
    if origin is not None and _host_of(origin) not in LOCAL_HOSTS:
        raise _forbidden("a page of another site asks")
    return LOCAL


def _forbidden(why: str) -> Refusal:
    return Refusal(403, "forbidden", f"Without sign-in the API serves this machine alone, and {why}. See docs/api.md.")


def _name(host: str) -> str:
    """Return a host without its port, in lower case."""
    before, colon, port = host.rpartition(":")
    return (before if colon and port.isdecimal() else host).lower()


def _host_of(origin: str) -> str:
    """Return the host of a page's address, empty if it is none."""
    try:
        return _name(urlsplit(origin).netloc)
    except ValueError:
        return ""


def _is_loopback(address: str) -> bool:
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = found.ipv4_mapped if isinstance(found, ipaddress.IPv6Address) else None
    return (mapped or found).is_loopback


def check_address(address: str | None) -> None:
    """Raise ConfigError if a server without sign-in would listen to the network.

    Args:
        address: to listen on, None for all.
    """
    if address is None or not (address.lower() == "localhost" or _is_loopback(address)):
        where = "every address" if address is None else address
        raise ConfigError(
            f"The API without sign-in serves this machine alone, but the server would listen on {where}. Let it listen "
            "on localhost, set up sign-in (section [auth] of the secrets), or take DERMLENS_API away."
        )


def check_hosts(allowed: Sequence[str] | None) -> None:
    """Raise ConfigError if a server without sign-in may be asked for by a name other than this machine's own."""
    others = [host for host in allowed or ["*"] if host.lower() not in LOCAL_HOSTS]
    if others:
        raise ConfigError(
            f"The API without sign-in serves this machine alone, but server.allowedHosts names {', '.join(others)}. "
            "Set up sign-in (section [auth] of the secrets), or take DERMLENS_API away."
        )


def guard(auth: Mapping[str, Any] | None, audience: str | None) -> Guard:
    """Return what decides on every request.

    Args:
        auth: section [auth] of the secrets, None where nobody signs in.
        audience: what tokens must be issued for (DERMLENS_API_AUDIENCE).

    Raises:
        ConfigError: there is a sign-in, but no audience or no address of the provider.
    """
    if auth is None:
        return only_here
    sections = [auth, *(s for s in auth.values() if isinstance(s, Mapping))]
    addresses = [str(s["server_metadata_url"]) for s in sections if s.get("server_metadata_url")]
    if not addresses:
        raise ConfigError("The API needs server_metadata_url in section [auth] of the secrets to check tokens.")
    if not audience:
        raise ConfigError("The API needs DERMLENS_API_AUDIENCE: the audience that its access tokens are issued for.")
    providers = [Provider(address) for address in dict.fromkeys(addresses)]
    return lambda headers, _: _subject(headers, providers, audience)


def _subject(headers: Headers, providers: "Sequence[Provider]", audience: str) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorised("Send an access token: Authorization: Bearer ...", "")
    token = token.strip()
    issuer = _claimed_issuer(token)
    why, away = "no provider knows it", None
    for provider in [p for p in providers if issuer and p.issuer == issuer] or providers:
        try:
            return provider.subject(token, audience)
        except Refusal as e:
            away = e
        except (JoseError, ValueError, KeyError, TypeError) as e:
            why = getattr(e, "description", None) or str(e) or type(e).__name__
    if away is not None:
        raise away
    raise _unauthorised(f"The access token is not accepted: {why[:200]}.", ', error="invalid_token"')


def _unauthorised(detail: str, more: str) -> Refusal:
    return Refusal(401, "token", detail, {"www-authenticate": f'Bearer realm="dermlens"{more}'})


def _claimed_issuer(token: str) -> str | None:
    """Return whom a token that is not verified yet names as its issuer, to ask that provider alone."""
    parts = token.split(".")
    try:
        said = base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4))
        return str(read_object(Document(Path("token"), said), most=MOST)["iss"])
    except (IndexError, ValueError, KeyError, DataError):
        return None


def _away(why: str) -> Refusal:
    return Refusal(503, "not-ready", f"The sign-in provider {why}. Try again in a minute.")


class _Known(NamedTuple):
    """What a provider has published."""

    issuer: str
    keys: KeySet


class Provider:
    """A sign-in provider: its issuer and its keys, fetched when first needed and when an unknown key turns up.

    Keys that are known stay in use while newer ones are fetched, and where that fails.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._known: _Known | None = None
        self._asking = threading.Lock()
        """held by who asks the provider"""
        self._asked, self._failed = -REFETCH, False

    @property
    def issuer(self) -> str | None:
        """Its issuer, None until it was asked."""
        return self._known.issuer if self._known else None

    def subject(self, token: str, audience: str) -> str:
        """Return whom a token was issued to: issuer and subject, as the dashboard names who signed in.

        Raises:
            JoseError, ValueError: it is not a valid token of this provider for this audience.
            Refusal: the provider cannot be reached, so that nobody knows.
        """
        known = self._known or self._newer(None)
        try:
            decoded = jwt.decode(token, known.keys, algorithms=list(ALGORITHMS))
        except (JoseError, ValueError):
            if (newer := self._newer(known)) is known:
                raise
            known = newer
            decoded = jwt.decode(token, known.keys, algorithms=list(ALGORITHMS))
        claims = decoded.claims
        wanted = jwt.JWTClaimsRegistry(
            leeway=LEEWAY,
            iss={"essential": True, "value": known.issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True},
        )
        wanted.validate(claims)
        issued = claims.get("iat")
        if issued is not None and issued > time.time() + LEEWAY:
            raise ValueError("it was issued in the future")
        return f"{claims['iss']} {claims['sub']}"

    def _newer(self, known: _Known | None) -> _Known:
        """Return what the provider has published since; it is asked at most every REFETCH seconds, by one at a time.

        Raises:
            Refusal: it cannot be reached, or another request is asking it.
        """
        if not self._asking.acquire(timeout=FIRST_WAIT if known is None else 0):
            raise _away("is being asked for its keys")
        try:
            if self._known is not None and self._known is not known:
                return self._known
            if time.monotonic() - self._asked >= REFETCH:
                self._asked, self._failed = time.monotonic(), True
                self._known, self._failed = _published(self.address), False
            if self._known is None or self._failed:
                raise _away("cannot be reached")
            return self._known
        finally:
            self._asking.release()


def _published(address: str) -> _Known:
    """Ask a provider for its issuer and keys; raises Refusal where it does not answer as it should."""
    try:
        found = _document(address)
        keys = _document(str(found["jwks_uri"])).get("keys", [])
        public = [k for k in keys if isinstance(k, dict) and k.get("kty") != "oct"]
        return _Known(str(found["issuer"]), KeySet.import_key_set({"keys": public}))
    except (JoseError, ValueError, KeyError, TypeError) as e:
        logger.warning("the sign-in provider does not answer as it should: %s", type(e).__name__)
        raise _away("does not answer as it should") from e


def _document(address: str) -> dict[str, Any]:
    try:
        with requests.get(address, timeout=_TIMEOUT, stream=True, allow_redirects=False) as answer:
            answer.raise_for_status()
            body = answer.raw.read(MOST + 1, decode_content=True)
        return read_object(Document(Path(address), body), most=MOST)
    except (requests.RequestException, OSError, DataError) as e:
        logger.warning("the sign-in provider does not answer as it should: %s", e)
        raise _away("cannot be reached") from e

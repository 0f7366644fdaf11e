"""Who may use the API: this machine alone, or who brings a valid token of the provider."""

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
import uvicorn
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from starlette.datastructures import Headers

from dermlens.api import access
from dermlens.api.access import check_address, check_hosts, guard, only_here
from dermlens.api.app import create
from dermlens.api.problems import Refusal
from dermlens.errors import ConfigError
from tests.browser.app import free_port
from tests.browser.provider import Provider, provide
from ui.access.sign_in import person_of

AUDIENCE = "dermlens-api"
FAR_AHEAD = 4_102_444_800  # the first of January 2100: workers must name the same tests


@pytest.fixture
def provider() -> Iterator[Provider]:
    with provide() as running:
        yield running


@pytest.fixture
def door(provider: Provider) -> access.Guard:
    return guard({"server_metadata_url": f"{provider.address}/.well-known/openid-configuration"}, AUDIENCE)


def claims(provider: Provider, **changed: object) -> dict:
    now = int(time.time())
    found = {"iss": provider.address, "aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 600} | changed
    return {name: value for name, value in found.items() if value is not None}


def ada(provider: Provider) -> str:
    """Return how the dashboard names the person of the claims."""
    return person_of(json.dumps({"iss": provider.address, "sub": "ada", "email": "ada@example.org"}).encode())


def bearer(token: str) -> Headers:
    return Headers({"authorization": f"Bearer {token}"})


def signed(provider: Provider, **changed: object) -> Headers:
    return bearer(jwt.encode({"alg": "RS256", "kid": "1"}, claims(provider, **changed), provider.signing))


def with_secret(said: dict, secret: bytes) -> str:
    """Return a token signed with a shared secret, which no well-kept library would sign with a public key."""
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in ({"alg": "HS256"}, said)]
    signature = hmac.digest(secret, b".".join(parts), hashlib.sha256)
    return b".".join([*parts, base64.urlsafe_b64encode(signature).rstrip(b"=")]).decode()


def test_a_valid_token_says_who_asks(provider: Provider, door: access.Guard) -> None:
    assert door(signed(provider), None) == ada(provider)
    assert door(signed(provider, aud=["another", AUDIENCE]), None) == ada(provider)


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "another"},
        {"aud": None},
        {"iss": "http://elsewhere"},
        {"exp": 1},
        {"exp": None},
        {"sub": None},
        {"iat": FAR_AHEAD},
        {"nbf": FAR_AHEAD},
    ],
    ids=["aud-other", "aud-none", "iss", "exp-past", "exp-none", "sub", "iat-future", "nbf-future"],  # workers compare
)
def test_a_token_for_another_purpose_or_time_is_refused(
    provider: Provider, door: access.Guard, changed: dict[str, object]
) -> None:
    with pytest.raises(Refusal) as refused:
        door(signed(provider, **changed), None)
    assert refused.value.status == 401
    assert "invalid_token" in refused.value.headers["www-authenticate"]


def test_a_token_signed_by_another_key_or_none_is_refused(provider: Provider, door: access.Guard) -> None:
    said = claims(provider)
    public = provider.published.as_pem(private=False)
    forged = {
        "another key": jwt.encode(
            {"alg": "RS256", "kid": "1"}, said, RSAKey.generate_key(2048, {"kid": "1", "alg": "RS256"})
        ),
        "another kind": jwt.encode({"alg": "ES256", "kid": "1"}, said, ECKey.generate_key("P-256", {"kid": "1"})),
        "the public key as a secret": with_secret(said, public),
        "no signature": "eyJhbGciOiJub25lIn0." + signed(provider)["authorization"].split(".")[1] + ".",
        "cut": signed(provider)["authorization"].removeprefix("Bearer ")[:-9],
        "no token": "x",
        "too long": "x" * 100_000,
    }
    for name, token in forged.items():
        with pytest.raises(Refusal) as refused:
            door(bearer(token), None)
        assert refused.value.status == 401, name


@pytest.mark.parametrize("headers", [{}, {"authorization": "Basic YTpi"}, {"authorization": "Bearer"}])
def test_without_a_token_one_is_asked_for(provider: Provider, door: access.Guard, headers: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        door(Headers(headers), None)
    assert refused.value.headers["www-authenticate"] == 'Bearer realm="dermlens"'
    assert not provider.asked


def test_new_keys_of_the_provider_are_fetched_but_not_for_every_forgery(
    provider: Provider, door: access.Guard, monkeypatch: pytest.MonkeyPatch
) -> None:
    door(signed(provider), None)
    for _ in range(3):
        with pytest.raises(Refusal):
            door(bearer("forged.token.x"), None)
    assert provider.asked.count("/jwks") == 1
    provider.published = provider.signing = RSAKey.generate_key(2048, {"kid": "1", "use": "sig", "alg": "RS256"})
    monkeypatch.setattr(access, "REFETCH", 0.0)
    assert door(signed(provider), None) == ada(provider)
    assert provider.asked.count("/jwks") == 2


def configuration(provider: Provider) -> str:
    return f"{provider.address}/.well-known/openid-configuration"


@pytest.mark.parametrize("away_first", [True, False])
def test_a_provider_that_is_away_shuts_nobody_out_of_another(provider: Provider, away_first: bool) -> None:
    nowhere, here = {"server_metadata_url": "http://localhost:9/none"}, {"server_metadata_url": configuration(provider)}
    first, second = (nowhere, here) if away_first else (here, nowhere)
    door = guard({"first": first, "second": second}, AUDIENCE)
    for _ in range(2):
        assert door(signed(provider), None) == ada(provider)
        with pytest.raises(Refusal) as refused:
            door(signed(provider, iss="http://localhost:9/none"), None)
        assert refused.value.status == 503, "it may be one of the provider's that is away"
        with pytest.raises(Refusal) as refused:
            door(signed(provider, exp=1), None)
        assert refused.value.status == 401, "its own provider has answered"


def test_a_provider_that_hangs_is_not_asked_about_anothers_token(provider: Provider) -> None:
    with provide() as other:
        door = guard(
            {name: {"server_metadata_url": configuration(p)} for name, p in (("a", other), ("b", provider))}, AUDIENCE
        )
        assert door(signed(provider), None) == ada(provider)
        asked = list(other.asked)
        for changed in ({}, {"exp": 1}):
            with suppress(Refusal):
                door(signed(provider, **changed), None)
        assert other.asked == asked


@pytest.mark.parametrize("recovers", [True, False])
def test_known_keys_are_in_use_while_newer_ones_are_fetched(
    provider: Provider, door: access.Guard, monkeypatch: pytest.MonkeyPatch, recovers: bool
) -> None:
    assert door(signed(provider), None) == ada(provider)
    monkeypatch.setattr(access, "REFETCH", 0.0)
    inside, go_on = threading.Event(), threading.Event()
    answer = provider.discovery()

    def hanging() -> dict[str, object]:
        inside.set()
        go_on.wait(60)
        return answer if recovers else {"issuer": provider.address}

    monkeypatch.setattr(provider, "discovery", hanging)
    said: list[int] = []

    def forge() -> None:
        try:
            door(bearer("forged.token.x"), None)
        except Refusal as e:
            said.append(e.status)

    forging = threading.Thread(target=forge)
    forging.start()
    assert inside.wait(60)
    begun = time.monotonic()
    assert door(signed(provider), None) == ada(provider)
    forge()
    assert time.monotonic() - begun < 5, "nobody waits for the provider"
    assert said == [503], "it may be signed by a key that is on its way"
    go_on.set()
    forging.join()
    assert said == [503, 401 if recovers else 503]
    assert door(signed(provider), None) == ada(provider)


@pytest.mark.parametrize("answer", [{}, {"issuer": "x"}, {"issuer": "x", "jwks_uri": "no address"}])
def test_a_provider_that_answers_otherwise_is_no_invalid_token(
    provider: Provider, door: access.Guard, monkeypatch: pytest.MonkeyPatch, answer: dict
) -> None:
    monkeypatch.setattr(provider, "discovery", lambda: answer)
    with pytest.raises(Refusal) as refused:
        door(signed(provider), None)
    assert refused.value.status == 503


def test_a_provider_that_is_away_is_no_invalid_token() -> None:
    door = guard({"server_metadata_url": "http://localhost:9/none"}, AUDIENCE)
    with pytest.raises(Refusal) as refused:
        door(bearer("a.b.c"), None)
    assert refused.value.status == 503


@pytest.mark.parametrize("host", ["localhost", "localhost:8501", "127.0.0.1:80", "[::1]:8501", "LOCALHOST"])
def test_without_sign_in_this_machine_may_ask(host: str) -> None:
    assert only_here(Headers({"host": host}), "127.0.0.1") == access.LOCAL
    assert only_here(Headers({"host": host, "origin": f"http://{host}"}), "::1") == access.LOCAL


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "dermlens.example.org"},
        {"host": "localhost.example.org"},
        {"host": "127.0.0.1.nip.io"},
        {},
        {"host": "localhost", "x-forwarded-for": "10.0.0.1"},
        {"host": "localhost", "X-Forwarded-Anything": ""},
        {"host": "localhost", "forwarded": "for=10.0.0.1"},
        {"host": "localhost", "via": "1.1 proxy"},
        {"host": "localhost", "x-real-ip": "10.0.0.1"},
        {"host": "localhost", "origin": "https://evil.example"},
        {"host": "localhost", "x-client-ip": "10.0.0.1"},
        {"host": "localhost", "x-cluster-client-ip": "10.0.0.1"},
        {"host": "localhost", "x-original-forwarded-for": "10.0.0.1"},
        {"host": "localhost", "x-original-host": "dermlens.example.org"},
        {"host": "localhost", "x-forwarded": "for=10.0.0.1"},
        {"host": "localhost", "origin": "null"},
        {"host": "localhost", "origin": "http://[x"},
    ],
)
def test_without_sign_in_nothing_from_elsewhere_is_answered(headers: dict[str, str]) -> None:
    with pytest.raises(Refusal) as refused:
        only_here(Headers(headers), "127.0.0.1")
    assert refused.value.status == 403


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1"])
def test_without_sign_in_loopback_may_ask(peer: str) -> None:
    assert only_here(Headers({"host": "localhost"}), peer) == access.LOCAL


@pytest.mark.parametrize(
    "peer", [None, "", "10.0.0.1", "172.17.0.1", "fe80::1%eth0", "::ffff:10.0.0.1", "2001:db8::1", "localhost"]
)
def test_without_sign_in_who_only_says_localhost_is_not_let_in(peer: str | None) -> None:
    with pytest.raises(Refusal, match="comes from another one") as refused:
        only_here(Headers({"host": "localhost"}), peer)
    assert refused.value.status == 403


def test_a_request_over_the_network_that_asks_for_localhost_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
            address = probe.getsockname()[0]
        except OSError:
            address = "127.0.0.1"
    if address.startswith("127."):
        pytest.skip("this machine has no other address")
    app = create(lambda: [], only_here)
    server = uvicorn.Server(uvicorn.Config(app, host="0.0.0.0", port=free_port(), log_level="error"))
    running = threading.Thread(target=server.run, daemon=True)
    running.start()
    while not server.started and running.is_alive():
        time.sleep(0.01)
    said = {}
    for peer in ("127.0.0.1", address):
        there = f"http://{peer}:{server.config.port}/api/v1/models"
        said[peer] = requests.get(there, headers={"Host": "localhost"}, timeout=60).status_code
    server.should_exit = True
    running.join()
    assert said == {"127.0.0.1": 200, address: 403}


def test_settings_that_would_open_it_to_strangers_are_refused(tmp_path: Path) -> None:
    check_hosts(["localhost", "127.0.0.1"])
    for loopback in ("localhost", "127.0.0.1", "127.0.0.2", "::1"):
        check_address(loopback)
    for address in (None, "", "0.0.0.0", "::", "10.0.0.1", "dermlens.example.org", "unix:///run/dermlens"):
        with pytest.raises(ConfigError, match="would listen on"):
            check_address(address)
    for allowed in (["localhost", "dermlens.example.org"], ["*"], [], None):
        with pytest.raises(ConfigError, match="this machine alone"):
            check_hosts(allowed)
    with pytest.raises(ConfigError, match="DERMLENS_API_AUDIENCE"):
        guard({"server_metadata_url": "https://login.example.org"}, None)
    with pytest.raises(ConfigError, match="server_metadata_url"):
        guard({"client_id": "x"}, AUDIENCE)

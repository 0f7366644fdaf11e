"""What the server does beside answering is not kept from it by those who ask for much."""

import asyncio
import gc
import itertools
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest

from dermlens.server.limits import LIMITS
from tests.conftest import finish
from ui import streamlit_internals
from ui.access import lifespan
from ui.access.visitors import OWNERS, Visitor


def test_what_has_ended_is_cleaned_up_while_every_thread_makes_downloads(monkeypatch: pytest.MonkeyPatch) -> None:
    cleaned, over = threading.Event(), threading.Event()
    monkeypatch.setattr(lifespan, "LIMITS", replace(LIMITS, swept_seconds=0.001))
    monkeypatch.setattr(lifespan, "_clean", cleaned.set)
    for name in ("let_go_of_the_last_session", "drop_unused_media"):
        monkeypatch.setattr(streamlit_internals, name, lambda: None)

    async def run() -> bool:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        download = asyncio.ensure_future(asyncio.to_thread(over.wait, 60))
        ended = asyncio.Event()
        ended.set()
        sweep = asyncio.ensure_future(lifespan._sweep(streamlit_internals.Sessions(1.0), ended))
        with ThreadPoolExecutor(1) as own:
            found = await loop.run_in_executor(own, cleaned.wait, 30)
        over.set()
        await download
        sweep.cancel()
        return found

    assert finish(run())


def test_networks_are_asked_to_forget_as_long_as_a_script_that_is_being_stopped_may_ask_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One that asks after the first time, and is done before the second, leaves its picture in them."""
    done: list[str] = []
    over = threading.Event()

    def forget() -> bool:
        done.append("forgotten")
        return True

    def collected(generation: int = 2) -> int:
        over.set()  # of the first turn in which nothing is left to clean
        return 0

    monkeypatch.setattr(lifespan, "LIMITS", replace(LIMITS, swept_seconds=0.001))
    monkeypatch.setattr(lifespan, "_clean", lambda: done.append("cleaned"))
    monkeypatch.setattr(lifespan, "_forget", forget)
    counts = itertools.count()
    monkeypatch.setattr(lifespan.gc, "get_stats", lambda: [{"collections": next(counts)}])
    monkeypatch.setattr(lifespan.gc, "collect", collected)
    for name in ("let_go_of_the_last_session", "drop_unused_media"):
        monkeypatch.setattr(streamlit_internals, name, lambda: None)

    async def run() -> None:
        ended = asyncio.Event()
        ended.set()
        sweep = asyncio.ensure_future(lifespan._sweep(streamlit_internals.Sessions(1.0), ended))
        assert await asyncio.to_thread(over.wait, 30)
        sweep.cancel()

    finish(run())
    assert done == 3 * ["cleaned", "forgotten"]


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What was collected and frozen, in this order."""
    seen: list[str] = []
    monkeypatch.setattr(lifespan.gc, "collect", lambda: seen.append("collected"))
    monkeypatch.setattr(lifespan.gc, "freeze", lambda: seen.append("frozen"))
    monkeypatch.setattr(lifespan.pool, "warm", lambda: None)
    monkeypatch.setattr(OWNERS, "begun", 0)
    yield seen
    assert gc.isenabled()


def test_the_models_are_loaded_at_the_start_and_left_out_of_later_collections(
    frozen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lifespan.cache, "models", lambda: frozen.append("loaded"))
    finish(lifespan._warm())
    assert frozen == ["loaded", "collected", "frozen"]


def test_nothing_is_frozen_once_somebody_has_come(frozen: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A picture in it could never be overwritten."""

    def load() -> Any:
        OWNERS.begin("early", Visitor(None, None, None, ""))
        OWNERS.end("early")

    monkeypatch.setattr(lifespan.cache, "models", load)
    finish(lifespan._warm())
    monkeypatch.setattr(OWNERS, "begun", 0)
    monkeypatch.setattr(lifespan.cache, "models", lambda: None)
    monkeypatch.setenv("DERMLENS_API", "1")  # programs send pictures without a session
    finish(lifespan._warm())
    assert frozen == []


def test_models_that_cannot_be_loaded_do_not_keep_the_server_from_serving(
    frozen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def load() -> Any:
        raise RuntimeError("no models")

    monkeypatch.setattr(lifespan.cache, "models", load)
    finish(lifespan._warm())
    assert frozen == ["collected", "frozen"]

"""Programs that ask the API without pause while people use the pages of the same server."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import requests

AT_ONCE = 2
"""Requests that are open at a time: the share that one caller has of the waiting line."""
ASKED = "/api/v1/predictions"


@dataclass
class Asked:
    """What became of the requests."""

    seconds: list[float] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    refused: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


@contextmanager
def asking(address: str, images: list[bytes]) -> Iterator[Asked]:
    """Ask for images again and again until the block ends; each answer must be the one that it got before the block."""
    alone = [_untimed(_ask(address, image).json()) for image in images]
    found, over = Asked(), threading.Event()
    answered = set[int]()
    """programs that got an answer"""

    def work(first: int) -> None:
        number = first
        while not over.is_set() or number == first:  # at least one each
            which = number % len(images)
            begun = time.perf_counter()
            answer = _ask(address, images[which])
            with found.lock:
                if answer.status_code == requests.codes.too_many_requests:
                    found.refused += 1
                elif answer.status_code != requests.codes.ok or _untimed(answer.json()) != alone[which]:
                    found.wrong.append(f"request {number} was answered otherwise than alone ({answer.status_code})")
                else:
                    found.seconds.append(time.perf_counter() - begun)
                    answered.add(first)
            if answer.status_code == requests.codes.too_many_requests:
                over.wait(float(answer.headers["retry-after"]))
            number += AT_ONCE

    with ThreadPoolExecutor(AT_ONCE) as pool:
        running = [pool.submit(work, first) for first in range(AT_ONCE)]
        try:
            yield found
        finally:
            over.set()
    for one in running:
        one.result()
    found.wrong += [f"program {first} got no answer" for first in range(AT_ONCE) if first not in answered]


def _ask(address: str, image: bytes) -> requests.Response:
    return requests.post(f"{address}{ASKED}", data=image, timeout=600)


def _untimed(answer: dict[str, Any]) -> dict[str, Any]:
    """Return an answer without the one value that differs between equal requests."""
    return {**answer, "models": [{**model, "milliseconds": None} for model in answer["models"]]}

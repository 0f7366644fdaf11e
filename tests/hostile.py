"""One stranger against everybody: `python -m tests.load --hostile` lets these attacks loose beside 20 honest sessions.

Run as a process of its own, `python -m tests.hostile ADDRESS`, it attacks until its standard input is closed; every
attack comes from an address of its own in 127.0.0.0/8.
"""

import contextlib
import itertools
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import requests
from websockets.exceptions import WebSocketException

from tests.conftest import encode
from tests.visitor import Visitor

ROOT = Path(__file__).parents[1]
MIB = 2**20
FAILS = (OSError, requests.RequestException, WebSocketException, AssertionError, LookupError, KeyError, EOFError)
"""What an attacker meets who is refused; it begins again."""
_stop = threading.Event()


def source(attack: int) -> str:
    """Return the address from which an attack comes: one visitor, however many pages and connections he opens."""
    return f"127.{attack + 10}.0.1"


def _server(address: str) -> tuple[str, int]:
    return "127.0.0.1", int(urlsplit(address).port or 80)


def claims(address: str) -> None:
    """43 uploads that claim 50 MiB and send nothing."""
    with Visitor(address, "predict", source=source(0)) as visitor:
        cookie = visitor.cookie()
        open_now = []
        for place in visitor.places([f"{i}.png" for i in range(43)]):
            connection = socket.create_connection(_server(address), source_address=(source(0), 0))
            head = f"PUT {place.upload_url} HTTP/1.1\r\nHost: localhost:{_server(address)[1]}\r\n{cookie}"
            head += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {50 * MIB}\r\n\r\n"
            connection.sendall(head.encode())
            open_now.append(connection)
        _stop.wait(15)
        for connection in open_now:
            connection.close()


def fills(address: str) -> None:
    """One session that uploads 1 GiB and never looks at it."""
    with Visitor(address, "predict", source=source(1)) as visitor:
        for place in visitor.places([f"{i}.png" for i in range(20)]):
            if not _stop.is_set():
                visitor.put(place.upload_url, ("x.png", bytes(50 * MIB - 1000)))


def invents(address: str) -> None:
    """Uploads to places that nobody has given out."""
    with Visitor(address, "predict", source=source(2)) as visitor:
        for number in range(20):
            if not _stop.is_set():
                path = f"/_stcore/upload_file/{visitor.session}/{number}"
                assert visitor.put(path, ("x.png", bytes(MIB))).status_code == 403


def keeps(number: int) -> Callable[[str], None]:
    """Return one of 8 sessions that fill the server with pictures and never begin a new case."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 256, (150, 200, 3), np.uint8)
    pictures = [encode(np.roll(coarse, i, 0).repeat(8, 0).repeat(8, 1), ".jpg") for i in range(40)]

    def attack(address: str) -> None:
        with Visitor(address, "predict", source=source(3)) as visitor:
            for i, data in enumerate(pictures):
                if not _stop.is_set():
                    visitor.upload({f"{i}.jpg": data})

    return attack


def shouts(number: int) -> Callable[[str], None]:
    """Return one of 4 strangers who send a message of 25 MB, all but its end."""

    def attack(address: str) -> None:
        with Visitor(address, source=source(4)) as visitor:
            visitor.send_raw(b"\x82\xff" + (25_000_000).to_bytes(8, "big") + b"mask" + bytes(24_000_000))
            _stop.wait(5)

    return attack


def says_nothing(address: str) -> None:
    """600 connections that never ask for anything, opened again as they are closed."""
    connections: list[socket.socket] = []
    try:
        while not _stop.is_set():
            while len(connections) < 600 and not _stop.is_set():
                connections.append(socket.create_connection(_server(address), source_address=(source(5), 0)))
            connections = [c for c in connections if _is_open(c)]
            _stop.wait(0.5)
    finally:
        for connection in connections:
            connection.close()


def _is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        found = bool(connection.recv(1))
    except BlockingIOError:
        return True
    except OSError:
        found = False
    if not found:
        connection.close()
    return found


def aborts(address: str) -> None:
    """Uploads that are broken off in the middle."""
    with Visitor(address, "predict", source=source(6)) as visitor:
        cookie = visitor.cookie()
        for place in visitor.places([f"{i}.png" for i in range(100)]):
            if _stop.wait(0.05):
                return
            with socket.create_connection(_server(address), source_address=(source(6), 0)) as connection:
                head = f"PUT {place.upload_url} HTTP/1.1\r\nHost: localhost:{_server(address)[1]}\r\n{cookie}"
                head += f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {MIB}\r\n\r\n"
                connection.sendall(head.encode() + bytes(1000))


def babbles(address: str) -> None:
    """What is no message, no request and no upload, with control characters in it."""
    for _ in range(20):
        if _stop.wait(0.05):
            return
        with suppress(*FAILS), Visitor(address, source=source(7)) as visitor:
            visitor.send_raw(b"\x81\x84mask" + b"mask")  # text
        with suppress(*FAILS), Visitor(address, source=source(7)) as visitor:
            visitor.send_raw(b"\x82\x84mask" + b"\x92\x9e\x8c\x94")  # no protobuf
        with suppress(*FAILS), socket.create_connection(_server(address), source_address=(source(7), 0)) as connection:
            connection.sendall(b"\x1b[31m" * 2000 + b"\r\n\r\n")
        path = "/oauth2callback?error=" + "%1b[2J" * 2000
        with suppress(*FAILS), requests.Session() as session:
            session.get(address + path, timeout=10, allow_redirects=False)


def does_not_listen(number: int) -> Callable[[str], None]:
    """Return one of 4 pages that are asked for again and again, and never taken."""

    def attack(address: str) -> None:
        with Visitor(address, "metrics", source=source(8)) as visitor:
            for _ in range(200):
                if _stop.wait(0.1):
                    return
                visitor.begin()

    return attack


def stays(address: str) -> None:
    """150 open pages that say nothing more."""
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            if _stop.wait(0.05):
                return
            stack.enter_context(Visitor(address, source=source(9)))
        _stop.wait()


ATTACKS: dict[str, tuple[Callable[[str], None], ...]] = {
    "uploads that claim 50 MiB and send nothing": (claims,),
    "one session that uploads 1 GiB": (fills,),
    "uploads that nobody asked for": (invents,),
    "8 sessions that keep pictures": tuple(keeps(i) for i in range(8)),
    "messages of 25 MB": tuple(shouts(i) for i in range(4)),
    "600 silent connections": (says_nothing,),
    "uploads that are broken off": (aborts,),
    "what is no message and no request": (babbles,),
    "pages that are never taken": tuple(does_not_listen(i) for i in range(4)),
    "150 open pages": (stays,),
}


@contextmanager
def attacked(address: str, only: str = "") -> Iterator[int]:
    """Attack a server from a process of its own, of low priority, while the block runs; yields its number."""
    command = ["nice", "-n", "10", sys.executable, "-m", "tests.hostile", address, only]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"attacking\n"
        try:
            yield process.pid
        finally:
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


def _again(attack: Callable[[str], None], address: str) -> None:
    for _ in itertools.count():
        if _stop.is_set():
            return
        with suppress(*FAILS):
            attack(address)
        _stop.wait(0.2)


def main(address: str, only: str = "") -> None:
    """Attack until standard input is closed."""
    chosen = [attack for name, attacks in ATTACKS.items() if only in name for attack in attacks]
    for attack in chosen:
        threading.Thread(target=_again, args=(attack, address), daemon=True).start()
    time.sleep(3.0)  # every attack has begun
    print("attacking", flush=True)
    sys.stdin.buffer.read()
    _stop.set()
    os._exit(0)  # connections and all


if __name__ == "__main__":
    main(*sys.argv[1:])

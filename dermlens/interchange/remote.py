"""Images answered by a Dermlens server over its HTTP API (docs/api.md), where no models are at hand."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple
from urllib.parse import urlsplit

import numpy as np
import requests

from dermlens.errors import ConfigError, DataError, ImageError, ModelError
from dermlens.files import locks
from dermlens.files.documents import Document, canonical, read_object, shortened, unwritable
from dermlens.ingest.read import file_bytes, is_missing, reason
from dermlens.labels import CLASSES

AT_ONCE = 2
"""Requests that are open at a time."""
SECONDS = 120.0
"""Longest wait for an answer."""
PAUSES = (1.0, 2.0, 4.0, 8.0)
"""Seconds before each further attempt, where a server cannot be reached or fails."""
WAIT = (0.5, 60.0)
"""Least and most seconds before a server that is busy is asked again."""
HERE = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Answer:
    """What a server says of one image; of one that cannot be read, the reason alone."""

    probabilities: tuple[float, ...] = ()
    """(7,), 0..1, in the order of labels.CLASSES"""
    refused: bool = False
    """whether it does not look like a dermoscopic image"""
    refer: bool | None = None
    """None without rules for referral"""
    rules: tuple[str, ...] = ()
    unreadable: str | None = None
    calibrated: bool | None = None


class File(NamedTuple):
    """A file as it was listed."""

    path: str
    bytes: int
    """-1 for one that was missing"""
    modified: int
    """ns since 1970"""


@dataclass(frozen=True)
class Asked:
    """What is asked of whom; answers of another one are not mixed with its own."""

    server: str
    """address before /api/v1"""
    model: str
    sha256: str
    """identity of the model"""
    stored_aspect: str
    class_mix: str
    paths_sha256: str
    """of the list of images"""


class Server:
    """A server at an address such as http://localhost:8502."""

    def __init__(self, address: str, token: str = "") -> None:
        """Args: address: http(s)://host[:port]. token: for a server with sign-in.

        Raises:
            ConfigError: it is no such address, or the token would be sent unencrypted to another machine.
        """
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise ConfigError(f"{shortened(address)} is no address of a server. Give one like http://localhost:8502.")
        if token and parts.scheme == "http" and parts.hostname not in HERE:
            raise ConfigError(
                f"{address} is not encrypted, so the access token is not sent there. Give an https address."
            )
        self.address = address.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    def identity(self, model_id: str) -> str:
        """Return the SHA-256 of a model that is ready there.

        Raises:
            ModelError: there is no such model, or it is not ready. DataError: as `ask`.
        """
        answer = self._request("GET", "models")
        with self._as_described(answer):
            known = {model["id"]: (model["ready"], model["problem"], model["sha256"]) for model in answer.json()}
        if model_id not in known:
            raise ModelError(f"{self.address} has no model {shortened(model_id)}. It has: {', '.join(sorted(known))}.")
        ready, problem, sha256 = known[model_id]
        if not ready:
            raise ModelError(f"{model_id} cannot be asked at {self.address}: {problem}")
        return sha256

    def ask(self, data: bytes, asked: Asked) -> Answer:
        """Return the answer to an image.

        Args:
            data: of the file. asked: the model and settings.

        Raises:
            ModelError: the model cannot be asked so, or is another one by now.
            DataError: the server cannot be reached, refuses, fails again and again, or answers with something else.
        """
        settings = {"model": asked.model, "stored_aspect": asked.stored_aspect, "class_mix": asked.class_mix}
        try:
            answer = self._request("POST", "predictions", params=settings, data=data)
        except ImageError as e:
            return Answer(unreadable=str(e))
        with self._as_described(answer):
            found = answer.json()
            [model] = found["models"]
            if model["failure"]:
                raise ModelError(f"{asked.model} at {self.address}: {model['failure']}")
            if model["sha256"] != asked.sha256:
                raise ModelError(f"{asked.model} at {self.address} is another one by now. Choose another --output.")
            referral = found["referral"] or {"refer": None, "rules": ()}
            return Answer(
                tuple(float(model["probabilities"][code]) for code in CLASSES),
                model["call"] is None,
                referral["refer"],
                tuple(referral["rules"]),
                calibrated=model["calibrated"],
            )

    @contextmanager
    def _as_described(self, answer: requests.Response) -> Iterator[None]:
        """Raise DataError where the block finds that an answer is not what the API's description says."""
        try:
            yield
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise DataError(f"{self.address}: {_no_answer(answer)}") from e

    def _request(self, method: str, path: str, **more: Any) -> requests.Response:
        pauses = deque(PAUSES)
        while True:
            try:
                answer = requests.request(
                    method,
                    f"{self.address}/api/v1/{path}",
                    headers=self._headers,
                    timeout=SECONDS,
                    allow_redirects=False,
                    **more,
                )
            except requests.RequestException as e:
                said = f"{self.address} cannot be reached ({type(e).__name__})."
            else:
                if answer.status_code == requests.codes.ok:
                    return answer
                kind, said = _problem(answer)
                if kind in ("image", "too-large"):
                    raise ImageError(said)
                if kind in ("model", "setting"):
                    raise ModelError(said)
                if kind == "busy":
                    time.sleep(_seconds(answer))
                    continue
                if kind != "slow" and answer.status_code < requests.codes.server_error:
                    raise DataError(f"{self.address}: {said}")
                said = f"{self.address}: {said}"
            if not pauses:
                raise DataError(f"{said} The same command goes on once it answers.")
            time.sleep(pauses.popleft())


def answers(server: Server, asked: Asked, folder: Path, files: Sequence[File], kept: Path) -> Generator[Answer]:
    """Yield the answers to files, in their order, each on the disk before it is yielded.

    Args:
        server: to ask. asked: what. folder: of the files. files: as listed.
        kept: JSON Lines of the answers; those that an earlier run left there are not asked for again, up to the first
            file that has changed since.

    Raises:
        DataError: `kept` belongs to another question or cannot be written, a file cannot be read that was there when
            it was listed; and as `Server.ask`.
        ModelError: as `Server.ask`.
    """

    def reply(file: File) -> Answer:
        try:
            data = file_bytes(folder / file.path)
        except ImageError as e:
            return Answer(unreadable=str(e))
        except OSError as e:
            if is_missing(e, was_there=file.bytes >= 0):
                return Answer(unreadable=f"The file cannot be read: {reason(e)}.")
            raise DataError(f"{folder / file.path} cannot be read now: {reason(e)}. The same command goes on.") from e
        return server.ask(data, asked)

    ahead = deque[Future[Answer]]()
    with _own(kept) as opened, ThreadPoolExecutor(AT_ONCE) as pool:
        known, length = _kept(kept, asked, files)
        yield from known
        write = _appending(kept, opened, length)
        if not length:
            write(asdict(asked))
        try:
            left = files[len(known) :]
            ahead.extend(pool.submit(reply, file) for file in left[:AT_ONCE])
            for i, file in enumerate(left):
                answer = ahead.popleft().result()
                ahead.extend(pool.submit(reply, further) for further in left[i + AT_ONCE : i + AT_ONCE + 1])
                write({"path": file.path, "bytes": file.bytes, "modified": file.modified, **asdict(answer)})
                yield answer
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


@contextmanager
def _own(file: Path) -> Iterator[BinaryIO]:
    """Open a file to add to, which nobody else adds to meanwhile; raises DataError if somebody does."""
    try:
        with file.open("ab") as opened:
            if not locks.take(opened.fileno()):
                raise DataError(f"{file} is being written by another run. Wait for it, or choose another --output.")
            yield opened
    except OSError as e:
        raise DataError(unwritable(file, e)) from e


def _appending(file: Path, opened: BinaryIO, length: int) -> Callable[[dict[str, Any]], None]:
    """Return what adds a line to a file, which is first cut to a length."""
    opened.truncate(length)

    def write(line: dict[str, Any]) -> None:
        try:
            opened.write(canonical(line) + b"\n")
            opened.flush()
        except OSError as e:
            raise DataError(unwritable(file, e)) from e

    return write


def _kept(file: Path, asked: Asked, files: Sequence[File]) -> tuple[list[Answer], int]:
    """Return the answers that an earlier run left, and the bytes of the file that they take."""
    *lines, unended = file.read_bytes().split(b"\n") if file.exists() else [b""]
    if not lines and canonical(asdict(asked)).startswith(unended):  # it was being written
        return [], 0
    if not lines or read_object(Document(file, lines[0])) != asdict(asked):
        raise DataError(
            f"{file} holds answers of another server, model, images or setting. Choose another --output, or delete it."
        )
    found, length = [], len(lines[0]) + 1
    for line, listed in zip(lines[1:], files, strict=False):
        values = read_object(Document(file, line))
        try:
            path = values.pop("path", listed.path)  # older versions did not write it down
            if (path, values.pop("bytes"), values.pop("modified")) != (listed.path, listed.bytes, listed.modified):
                break
            shares, rules = map(tuple, (values.pop("probabilities"), values.pop("rules")))
            found.append(Answer(shares, rules=rules, **values))
        except (KeyError, TypeError) as e:
            raise DataError(f"{file} is damaged ({e!r}). Delete it, and the answers are asked for again.") from e
        length += len(line) + 1
    return found, length


def _problem(answer: requests.Response) -> tuple[str, str]:
    """Return the kind of a problem, as the API names them, and its sentence."""
    try:
        said = answer.json()
        return said["type"].removeprefix("urn:dermlens:"), shortened(said["detail"], 1000)
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", _no_answer(answer)


def _no_answer(answer: requests.Response) -> str:
    return f"it answered with HTTP {answer.status_code}, which is no answer of Dermlens' API."


def _seconds(answer: requests.Response) -> float:
    try:
        return float(np.clip(float(answer.headers.get("retry-after", "")), *WAIT))
    except ValueError:
        return WAIT[0]

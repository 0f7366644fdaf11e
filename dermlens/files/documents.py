"""Opens this project's own files, which may have been damaged or changed, and replaces them whole or not at all."""

import hashlib
import json
import os
import secrets
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

from dermlens.errors import DataError, DermlensError

MAX_DOCUMENT = 8 * 2**20
"""Most bytes of a JSON file that are read."""
MAX_DEPTH = 40
"""Most levels that objects and lists in a JSON file may be nested."""
_PART = 2**20


def _written(value: object) -> str:
    """Return a time with its zone as JSON has it, in UTC with microseconds."""
    if not isinstance(value, datetime) or value.tzinfo is None:
        raise ValueError(f"{type(value).__name__} cannot be written as JSON")
    return (value if value.tzinfo is UTC else value.astimezone(UTC)).isoformat(timespec="microseconds")


_CANONICAL = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, default=_written
)


@dataclass(frozen=True)
class Document:
    """A file that was read: what is checked of it is what is used of it, whatever happens to the file afterwards."""

    path: Path
    """where it was read, to name it and what lies beside it; it is not opened again"""
    data: bytes

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    @property
    def parent(self) -> Path:
        """The folder of the file."""
        return self.path.parent

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of the bytes, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()


File = Path | Document
"""What a reader takes: a file to open, or one that was read already."""


def shown(file: File) -> str:
    """Return how a file is named to a person: its last three parts, without the way to them on this machine."""
    return "/".join((file.parent / file.name).parts[-3:])


def shortened(text: str, most: int = 80) -> str:
    """Return what was received, cut to what a sentence can hold."""
    return text if len(text) <= most else f"{text[:most]}..."


def read_bytes(file: File, most: int, error: type[DermlensError] = DataError) -> bytes:
    """Return the content of a whole file.

    Args:
        file: a regular file; a link may not lead out of its folder. One that was read already is only measured.
        most: bytes it may have.
        error: the class to raise.

    Raises:
        DermlensError: of the class `error`: it is missing, no regular file, a link to elsewhere, too large, unreadable.
    """
    data = file.data if isinstance(file, Document) else _opened(file, most, error)
    if len(data) > most:
        raise error(f"{shown(file)} is larger than {most / 2**20:.0f} MiB, the most that is read of such a file.")
    return data


def read_document(file: File, most: int, error: type[DermlensError] = DataError) -> Document:
    """Read a whole file, to check it before it is used; arguments and what is raised as for `read_bytes`."""
    data = read_bytes(file, most, error)
    return file if isinstance(file, Document) else Document(file, data)


def decode(data: bytes, where: str, error: type[DermlensError] = DataError) -> str:
    """Return UTF-8 text without its byte order mark; raises `error` naming the line and column of what is not."""
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        before = data[: e.start]
        line, column = before.count(b"\n") + 1, e.start - before.rfind(b"\n")
        raise error(f"{where}, line {line}, byte {column}: this is not UTF-8 text ({e.reason}).") from e


def read_object(file: File, error: type[DermlensError] = DataError, most: int = MAX_DOCUMENT) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        file, error, most: as for `read_bytes`.

    Raises:
        DermlensError: as `read_bytes`; or it is no JSON object in UTF-8, is nested deeper than MAX_DEPTH, or holds text
            that is not valid Unicode. The message names the line and column where there is one.
    """
    where = shown(file)
    text = decode(read_bytes(file, most, error), where, error)
    try:
        value = json.loads(text)
        if "\\ud" in text.lower():  # an escaped half of a surrogate pair, which no browser could be sent
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as e:
        raise error(f"{where} holds text that is not valid Unicode ({e.reason}).") from e
    except ValueError as e:
        raise error(f"{where} cannot be read as JSON: {e}.") from e
    except RecursionError as e:
        raise error(f"{where} is nested deeper than {MAX_DEPTH} levels.") from e
    if not isinstance(value, dict):
        raise error(f"{where} must be an object, but it is a {type(value).__name__}.")
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in (node.values() if isinstance(node, dict) else node)]
        level = [child for child in level if isinstance(child, dict | list)]
        if not level:
            return value
    raise error(f"{where} is nested deeper than {MAX_DEPTH} levels.")


def encode_object(value: Any) -> bytes:
    """Return the content of a JSON file of ours: UTF-8, one space per indentation, a line break at its end."""
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def canonical(value: Any) -> bytes:
    """Return the one way to write a value as JSON, to be hashed: keys sorted, no spaces, UTF-8; times in UTC as text.

    Raises:
        ValueError: it holds a number that is not finite, a time without a zone, or what JSON has no place for.
    """
    return _CANONICAL.encode(value).encode()


def write_object(file: Path, value: Any) -> None:
    """Replace a JSON file in one step; raises as `write_whole`."""
    write_whole(file, encode_object(value))


def write_whole(file: Path, data: bytes) -> None:
    """Replace a file in one step: a reader, or a kill at any moment, sees the old content or the new.

    Threads and processes may write the same file at once: it ends as one of them wrote it.

    Raises:
        DataError: it cannot be written, for want of space say. What was there before is as it was.
    """
    partial = file.with_name(f".{file.name}.{secrets.token_hex(8)}.part")
    try:
        with partial.open("xb") as f:
            f.write(data)
            f.flush()
            os.fsync(f.fileno())
        partial.replace(file)
    except OSError as e:
        partial.unlink(missing_ok=True)
        raise DataError(unwritable(file, e)) from e
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _opened(file: Path, most: int, error: type[DermlensError]) -> bytes:
    """Return the first `most` + 1 bytes of a file; raises as `read_bytes`."""
    where = shown(file)
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise error(f"{where} is not a regular file. Put the file itself there.")
        if file.is_symlink() and not file.resolve().is_relative_to(file.parent.resolve()):
            raise error(f"{where} is a link that leads out of its folder. Put the file itself there.")
        with file.open("rb") as opened:
            return read_at_most(opened, most + 1)
    except FileNotFoundError as e:
        raise error(f"{where}: there is no such file.") from e
    except OSError as e:
        raise error(f"{where} cannot be read: {e.strerror}.") from e


def read_at_most(opened: BinaryIO, most: int) -> bytes:
    """Return at most the first bytes of an open file. By `read`, Python would first take memory for the most there may
    be: a gigabyte for any part of a network."""
    parts: list[bytes] = []
    while most > 0 and (part := opened.read(min(most, _PART))):
        parts.append(part)
        most -= len(part)
    return b"".join(parts)


def unwritable(file: Path, reason: OSError) -> str:
    """Return the sentence for a file that cannot be written."""
    return (
        f"{file} cannot be written: {reason.strerror or reason}. What was there before is unchanged; make room or "
        "choose another place, and run the same command again."
    )

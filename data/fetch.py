"""Fetch files over HTTP so that a cut connection costs nothing, and unpack zips so that nothing is half there.

`requests` does the HTTP: it is well kept, and Streamlit brings it along anyway.
"""

import hashlib
import os
import re
import shutil
import stat
import time
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import requests
from tqdm import tqdm

from dermlens.errors import DownloadError

ATTEMPTS = 6
MAX_WAIT = 60.0
TIMEOUT = (10, 60)  # seconds to connect, and between two pieces of the body
PIECE = 1 << 16  # at most this much of what has arrived is lost with a connection
IMAGE_NAME = re.compile(r"ISIC_\d+(\.jpg|_downsampled\.jpg|_segmentation\.png)", re.IGNORECASE)

Sleep = Callable[[float], None]
T = TypeVar("T")


@dataclass(frozen=True)
class Remote:
    """A file to fetch: its address, and its size in bytes, hash algorithm and hex digest where they are published."""

    url: str
    size: int | None = None
    algorithm: str = ""
    digest: str = ""


class _Passing(Exception):
    """A fault that may be gone at the next attempt; `wait` is what the server asked for, in seconds."""

    def __init__(self, reason: str, wait: float = 0.0) -> None:
        super().__init__(reason)
        self.wait = wait


def fetch(
    session: requests.Session, remote: Remote, target: Path, sleep: Sleep = time.sleep, show: bool = True
) -> None:
    """Fetch `remote` to `target`, which appears only when it is whole and verified.

    What has arrived is kept in `<target>.part` and continued by a range request, in this call or in a later one. The
    server's entity tag, kept beside it, makes sure that both halves are of the same file. A `target` that is already
    there and verified is left alone. `show` draws a progress bar on a terminal.

    Raises:
        DownloadError: refused by the server, still failing after 6 attempts in a row without a further byte, or of
            another size or checksum than published.
    """
    if target.exists() and not _fault(target, remote):
        return
    part = target.with_name(target.name + ".part")
    joined = False

    def go_on() -> None:
        nonlocal joined
        joined = joined or part.exists()
        _continue(session, remote, part, show)

    while True:
        _retry(go_on, remote.url, sleep, lambda: _size(part))
        fault = _fault(part, remote)
        if not fault:
            break
        _discard(part)
        if not joined:
            raise DownloadError(f"{remote.url}: {fault}. The file was discarded; try again later.")
        joined = False  # the halves may not have belonged together: once more, in one piece
    os.replace(part, target)
    _tag(part).unlink(missing_ok=True)


def get_json(
    session: requests.Session, url: str, params: dict[str, Any] | None = None, sleep: Sleep = time.sleep
) -> dict[str, Any]:
    """Return the JSON object at `url`; raises DownloadError like `fetch`."""

    def ask() -> dict[str, Any]:
        with _get(session, url, params=params) as response:
            try:
                answer = response.json()
            except requests.JSONDecodeError as e:
                raise DownloadError(f"{response.url}: expected JSON, received {response.text[:80]!r}.") from e
        if not isinstance(answer, dict):
            raise DownloadError(f"{url}: expected a JSON object, received a {type(answer).__name__}.")
        return answer

    return _retry(ask, url, sleep)


def unpack(archive: Path, staging: Path) -> int:
    """Unpack the images of a zip flat into the new folder `staging` and return their number.

    Folders inside the zip and files that are not images or masks of the ISIC Archive are left out.

    Raises:
        DownloadError: not a zip, damaged, with a path that leads outside or a link, with an image twice, or with none.
    """
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    try:
        with zipfile.ZipFile(archive) as z:
            members = [m for m in z.infolist() if not m.is_dir()]
            unsafe = [m.filename for m in members if _unsafe(m)]
            if unsafe:
                raise DownloadError(f"{archive.name}: {len(unsafe)} unsafe paths, first {unsafe[0]!r}; not unpacked.")
            images = [(PurePosixPath(m.filename).name, m) for m in members]
            images = [(name, m) for name, m in images if IMAGE_NAME.fullmatch(name)]
            names = {name for name, _ in images}
            if len(names) < len(images) or not images:
                raise DownloadError(f"{archive.name}: {len(images)} images with {len(names)} names; not unpacked.")
            for name, m in tqdm(images, desc=f"unpacking {archive.name}", unit=" files", disable=None):
                with z.open(m) as source, (staging / name).open("wb") as copy:
                    shutil.copyfileobj(source, copy)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as e:
        raise DownloadError(f"{archive.name} is not a zip that can be read ({e}). Delete it and run again.") from e
    return len(images)


def _continue(session: requests.Session, remote: Remote, part: Path, show: bool) -> None:
    """Fetch what `part` still lacks; raises _Passing if it ends early."""
    tag = _tag(part)
    start = _size(part)
    if remote.size is not None and start == remote.size:
        return
    etag = tag.read_text() if tag.exists() else ""
    if (remote.size is not None and start > remote.size) or not (etag or remote.digest):
        start = 0  # too much, or nothing could tell whether the two halves belong together
    headers = {"Accept-Encoding": "identity"}
    if start:
        headers["Range"] = f"bytes={start}-"
        if etag:
            headers["If-Range"] = etag
    with _get(session, remote.url, headers=headers, discard_on_416=part) as response:
        if response.status_code == 206:
            sent = re.match(r"bytes (\d+)-\d+/(\d+)$", response.headers.get("Content-Range", ""))
            if not sent or int(sent[1]) != start:
                _discard(part)
                raise _Passing("the server sent another range than asked for")
            total: int | None = int(sent[2])
        else:
            start = 0
            length = response.headers.get("Content-Length", "")
            total = int(length) if length.isdigit() else None
        if None not in (total, remote.size) and total != remote.size:
            raise DownloadError(f"{remote.url}: {total} bytes are sent, {remote.size} bytes are published.")
        strong = response.headers.get("ETag", "")
        tag.write_text("" if strong.startswith("W/") else strong)
        hidden = None if show else True  # None: hidden unless on a terminal
        bar = tqdm(total=total, initial=start, desc=part.stem, unit="B", unit_scale=True, disable=hidden)
        with bar, part.open("ab" if start else "wb") as out:
            try:
                for piece in response.iter_content(PIECE):
                    out.write(piece)
                    bar.update(len(piece))
            except requests.RequestException as e:
                raise _Passing(f"the connection broke ({e})") from e
    if total is not None and _size(part) != total:
        raise _Passing(f"{_size(part)} of {total} bytes arrived")


def _get(
    session: requests.Session,
    url: str,
    params: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
    discard_on_416: Path | None = None,
) -> requests.Response:
    try:
        response = session.get(url, params=params, headers=headers, stream=True, timeout=TIMEOUT)
    except (requests.ConnectionError, requests.Timeout) as e:
        raise _Passing(f"no connection ({e})") from e
    except requests.RequestException as e:
        raise DownloadError(f"{url} cannot be asked for: {e}.") from e
    code = response.status_code
    if code in (200, 206):
        return response
    response.close()
    if code == 416 and discard_on_416 is not None:
        _discard(discard_on_416)
        raise _Passing("the server has another file than the one begun")
    if code in (408, 429) or code >= 500:
        asked = response.headers.get("Retry-After", "")
        raise _Passing(f"HTTP {code}", float(asked) if asked.isdigit() else 0.0)
    raise DownloadError(f"{url}: HTTP {code} {response.reason}. Check the address, or try the other --source.")


def _retry(action: Callable[[], T], what: str, sleep: Sleep, progress: Callable[[], int] = lambda: 0) -> T:
    """Repeat `action` while it fails in passing, waiting 1, 2, 4 ... seconds; further progress resets the count."""
    failures = 0
    farthest = progress()
    while True:
        try:
            return action()
        except _Passing as e:
            failures = 1 if progress() > farthest else failures + 1
            farthest = max(farthest, progress())
            if failures >= ATTEMPTS:
                raise DownloadError(f"{what}: gave up after {ATTEMPTS} attempts: {e}. Run again to continue.") from e
            sleep(min(max(2.0 ** (failures - 1), e.wait), MAX_WAIT))


def _fault(file: Path, remote: Remote) -> str:
    """Return what is wrong with a file that has arrived, or an empty string."""
    if remote.size is not None and _size(file) != remote.size:
        return f"{_size(file)} bytes arrived, {remote.size} are published"
    if remote.digest:
        with file.open("rb") as f:
            found = hashlib.file_digest(f, remote.algorithm).hexdigest()
        if found != remote.digest.lower():
            return f"{remote.algorithm} is {found}, published is {remote.digest}"
    return ""


def _unsafe(member: zipfile.ZipInfo) -> bool:
    path = PurePosixPath(member.filename)
    outside = path.is_absolute() or ".." in path.parts or re.search(r"[\\:]", member.filename) is not None
    return outside or stat.S_ISLNK(member.external_attr >> 16)


def _size(file: Path) -> int:
    return file.stat().st_size if file.exists() else 0


def _tag(part: Path) -> Path:
    return part.with_name(part.name + ".etag")


def _discard(part: Path) -> None:
    part.unlink(missing_ok=True)
    _tag(part).unlink(missing_ok=True)

"""What one visitor may take of the server, and what all may take together: every limit, with its reason, here alone.

`DERMLENS_LIMITS` changes some of them: "kept_total=2147483648 connections=800".
"""

import os
from dataclasses import dataclass, fields, replace

from dermlens.errors import ConfigError

MIB = 2**20


@dataclass(frozen=True)
class Limits:
    """Bytes, seconds and counts. A *_total holds for everybody together, a *_session for one session, a *_person for
    one signed-in person with all sessions, a *_address for one address behind a trusted proxy.
    """

    reserve: float = 0.25
    """share of each total that only sessions with an answered case may use, while they hold an eighth of it at most"""

    files_session: int = 256 * MIB
    """bytes of files on their way, received, or waiting to be examined"""
    files_person: int = 384 * MIB
    files_address: int = 384 * MIB
    files_total: int = 512 * MIB
    file_names: int = 2000
    """most files for which one session may ask for a place to upload to"""

    body_seconds: float = 600.0
    """in which a request must have been sent and answered"""
    body_rate: int = 16 * 1024
    """least bytes a second at which a file must come, over any `body_pause` seconds"""
    body_pause: float = 10.0
    body_waits: float = 60.0
    """seconds that an upload waits for room or for its turn, unread, before it is refused"""
    untaken_seconds: float = 120.0
    """after which a file that was received and never taken by its page is dropped"""

    kept_session: int = 256 * MIB
    """bytes of pixels of an open case"""
    kept_person: int = 384 * MIB
    kept_address: int = 384 * MIB
    kept_total: int = 512 * MIB

    line_session: int = 2
    """places in the line for the models"""
    line_person: int = 4
    line_address: int = 8
    line_total: int = 42
    """those who are being served included"""

    sockets_person: int = 20
    """open pages; of one more than there may be, the one that has been silent longest is closed"""
    sockets_address: int = 40
    sockets_total: int = 200

    openings: int = 2
    """pages that are drawn for the first time at once, before they have an answered case"""
    asks_burst: int = 40
    """messages of one page that are heard at once"""
    asks_rate: float = 10.0
    """and a second from then on"""

    requests_burst: int = 400
    """HTTP requests of one address at once: a first load of the page takes about 100"""
    requests_rate: float = 50.0
    """and a second from then on"""

    downloads: int = 4
    """that are made on a click at once, by all together"""
    downloads_session: int = 5
    """of one session that are being made or wait: one at a time is made"""

    computing_burst: float = 4.0
    """seconds for which the pages, downloads and uploads of one visitor may compute at once; from then on its part of
    one core. A stranger counts a quarter, n sessions of one address together √n, of these seconds as well
    (dermlens.server.shares.weights)"""
    computing_recent: float = 5.0
    """seconds for which a visitor counts among those who share, after it has last computed or waited"""

    connections: int = 500
    """open at once; another one takes the place of the one that has been silent longest"""
    silent_seconds: float = 10.0
    """after which a connection that asks for nothing is closed"""
    stalled_seconds: float = 30.0
    """after which a page that does not take what it is sent is closed"""
    body_refused: int = MIB
    """bytes of a body beyond which a refusal ends the connection, as the rest would be read to no purpose"""
    message_bytes: int = MIB // 2
    """of one message from a page; the list of a thousand uploaded files takes 350,000"""

    log_line: int = 500
    """characters of one value from outside in a line of the log"""
    log_repeats: int = 20
    """times that the same message is written a minute"""

    swept_seconds: float = 5.0
    """between two times that what has expired is ended"""


def read(text: str) -> Limits:
    """Return the limits with those changed that a text names: "connections=800 silent_seconds=5".

    Raises:
        ConfigError: a name is unknown, or a value is not a number above 0.
    """
    types = {field.name: field.type for field in fields(Limits)}
    changed: dict[str, int | float] = {}
    for part in text.split():
        name, _, value = part.partition("=")
        if name not in types:
            raise ConfigError(f"DERMLENS_LIMITS names {name!r}, which is none of {', '.join(types)}.")
        try:
            changed[name] = int(value) if types[name] is int else float(value)
        except ValueError as e:
            raise ConfigError(f"DERMLENS_LIMITS: {name} must be a number, got {value!r}.") from e
        if not 0 <= changed[name] < float("inf") or (changed[name] == 0 and name != "reserve"):
            raise ConfigError(f"DERMLENS_LIMITS: {name} must be above 0, got {value!r}.")
    found = replace(Limits(), **changed)  # type: ignore[arg-type]
    if found.reserve >= 1:
        raise ConfigError(f"DERMLENS_LIMITS: reserve must be below 1, got {found.reserve}.")
    return found


LIMITS = read(os.environ.get("DERMLENS_LIMITS", ""))

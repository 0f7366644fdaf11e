"""Who stands behind a request: the person who signed in, the browser, the address; and what is theirs."""

import ipaddress
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from starlette.requests import HTTPConnection
from starlette.types import Scope

from dermlens.errors import ConfigError
from dermlens.server.connections import PEER
from dermlens.server.shares import STRANGER, VISITS, Payer, Who
from ui.access.sign_in import lasts, person_of, sign_in_of
from ui.streamlit_internals import browser_of_cookies

VISITOR = "dermlens.visitor"
"""Where an ASGI scope names its visitor."""
HERE = ("127.0.0.1", "::1")
"""Peers that are not limited: a proxy on this machine, and so everybody whose address nobody says."""
MOST_SHOWN = 5000
"""Pictures and downloads of one session that are remembered as its own, the latest ones."""


@dataclass
class Visitor:
    """Who sends a request or has a page open."""

    peer: Any
    sign_in: bytes | None
    """what the cookie says of who signed in, None where nobody did or no sign-in is set up"""
    browser: bytes | None
    address: str
    """as a trusted proxy gives it, "" without one"""
    session: str = ""
    """of an open page"""

    @property
    def person(self) -> str:
        """Who signed in, by what the provider tells people apart; "" if nobody did."""
        return person_of(self.sign_in) if self.sign_in else ""

    def may_stay(self) -> bool:
        """Return whether nobody signed in, or the sign-in still lasts."""
        return self.sign_in is None or lasts(self.sign_in)


def trusted_proxies() -> list[str]:
    """Return the addresses and networks of DERMLENS_TRUSTED_PROXIES, separated by commas or spaces.

    Raises:
        ConfigError: one is neither.
    """
    found = os.environ.get("DERMLENS_TRUSTED_PROXIES", "").replace(",", " ").split()
    for one in found:
        try:
            ipaddress.ip_network(one)
        except ValueError as e:
            raise ConfigError(f"DERMLENS_TRUSTED_PROXIES must list addresses or networks, got {one!r}: {e}.") from e
    return found


def visitor_of(scope: Scope) -> Visitor:
    """Return who stands behind an ASGI scope."""
    cookies = HTTPConnection(scope).cookies
    client, peer = scope.get("client"), scope.get(PEER, scope.get("client"))
    address = str(client[0]) if client is not None and client != peer else ""
    return Visitor(peer, sign_in_of(cookies), browser_of_cookies(cookies), address)


def limited_by(visitor: Visitor) -> str:
    """Return the address by which a visitor's requests are counted; "" where it may be that of many."""
    peer = str((visitor.peer or ("",))[0])
    return visitor.address or ("" if peer in HERE else peer)


def who_is(visitor: Visitor) -> Who:
    """Return whose share a visitor's session is."""
    return Who(visitor.session, visitor.person, visitor.address, limited_by(visitor))


def computes(visitor: Visitor) -> Payer:
    """Return who is charged for what a visitor's page computes: a session with an answered case is one of its own.

    All strangers of one address are one.
    """
    if visitor.person or VISITS.who(visitor.session).answered:
        return who_is(visitor).payer()
    return Payer("stranger " + (visitor.address or str((visitor.peer or ("",))[0])), counts=STRANGER)


class Owners:
    """Whose a session is, and which uploads and pictures are a session's. Safe between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owners: dict[str, Visitor] = {}
        self.begun = 0
        """sessions that there were so far"""
        self._places: dict[str, OrderedDict[str, None]] = {}
        """session -> ids of files that it may upload, the oldest first"""
        self._coming: dict[str, set[str]] = {}
        """session -> those of its places to which a file is on its way"""
        self._shown: dict[str, OrderedDict[str, None]] = {}
        """session -> ids of pictures and downloads"""

    def begin(self, session: str, visitor: Visitor) -> None:
        """Note whose a session is."""
        visitor.session = session
        VISITS.begin(who_is(visitor))
        with self._lock:
            self._owners[session] = visitor
            self.begun += 1

    def end(self, session: str) -> None:
        """Forget a session."""
        VISITS.end(session)
        with self._lock:
            for held in (self._owners, self._places, self._coming, self._shown):
                held.pop(session, None)

    def whose(self, session: str) -> Visitor | None:
        """Return whose a session is, None if it is not there."""
        with self._lock:
            return self._owners.get(session)

    def all(self) -> list[Visitor]:
        """Return whose the sessions are."""
        with self._lock:
            return list(self._owners.values())

    def give_places(self, session: str, files: list[str], most: int) -> None:
        """Let a session upload these files, of which it may have so many open: the oldest, to which nothing is on its
        way, are given up for them.
        """
        with self._lock:
            if session in self._owners:
                places, coming = self._places.setdefault(session, OrderedDict()), self._coming.get(session, ())
                idle = [file for file in places if file not in coming]
                for file in idle[: max(0, len(places) + len(files) - most)]:
                    del places[file]
                places.update(dict.fromkeys(files[: max(0, most - len(places))]))

    def show(self, session: str, media: str) -> None:
        """Let a session fetch a picture or download."""
        with self._lock:
            if session in self._owners:
                shown = self._shown.setdefault(session, OrderedDict())
                shown[media] = None
                shown.move_to_end(media)
                if len(shown) > MOST_SHOWN:
                    shown.popitem(last=False)

    def owns(self, visitor: Visitor, session: str) -> bool:
        """Return whether a session is this visitor's: of the same browser, and signed in as the same person."""
        with self._lock:
            owner = self._owners.get(session)
        return owner is not None and (owner.browser, owner.person) == (visitor.browser, visitor.person)

    def resumes(self, visitor: Visitor, session: str) -> bool:
        """Return whether a visitor may go on with a session: it is theirs, and something tells them from others."""
        return bool(visitor.browser or visitor.person) and self.owns(visitor, session)

    def may_upload(self, session: str, file: str) -> bool:
        """Return whether this session was given a place for this file."""
        with self._lock:
            return file in self._places.get(session, ())

    def claim(self, session: str, file: str) -> bool:
        """Keep a place for one file on its way, until `release`; returns False if one is on its way already."""
        with self._lock:
            coming = self._coming.setdefault(session, set()) if session in self._owners else set()
            if file in coming or file not in self._places.get(session, ()):
                return False
            coming.add(file)
            return True

    def release(self, session: str, file: str) -> None:
        """Give a place back to which no file is on its way any more."""
        with self._lock:
            self._coming.get(session, set()).discard(file)

    def uploaded(self, session: str, file: str) -> None:
        """Take a place back that was used."""
        with self._lock:
            self._places.get(session, OrderedDict()).pop(file, None)

    def may_see(self, visitor: Visitor, media: str) -> bool:
        """Return whether a picture or download is shown by a session of this visitor."""
        with self._lock:
            sessions = [session for session, shown in self._shown.items() if media in shown]
        return any(self.owns(visitor, session) for session in sessions)


OWNERS = Owners()

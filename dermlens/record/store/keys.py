"""What the record's one key does: pseudonyms, encrypted pictures, and a fingerprint that tells another key from it."""

import hashlib
import hmac
import os
import unicodedata
from datetime import UTC, datetime

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from sqlalchemy import select
from sqlalchemy.orm import Session

from dermlens.errors import ConfigError, RecordError
from dermlens.record.store.tables import RecordKey

LENGTH = 32
"""Bytes of the key."""
_NONCE = 12
NO_KEY = (
    "There is no DERMLENS_RECORD_KEY: answers are kept, patients and pictures are not. Make one with "
    "python -m dermlens.record key, and keep a copy of it elsewhere."
)
OTHER_KEY = (
    "DERMLENS_RECORD_KEY is not the key that this record was begun with: its patients cannot be found and its pictures "
    "not opened, so neither is saved until the right key is back. Answers are kept and shown as before."
)


class Keys:
    """The keys for each purpose, derived from the record's key by HKDF (RFC 5869), so that none tells another."""

    def __init__(self, key: bytes) -> None:
        """Derive the keys; ConfigError if `key` has fewer than LENGTH bytes."""
        if len(key) < LENGTH:
            raise ConfigError(f"DERMLENS_RECORD_KEY must have {LENGTH} bytes, got {len(key)}.")
        self._pseudonyms, self._pictures, check = (
            HKDF(SHA256(), LENGTH, None, f"dermlens record {purpose}".encode()).derive(key)
            for purpose in ("pseudonyms", "pictures", "fingerprint")
        )
        self.fingerprint = hashlib.sha256(check).hexdigest()

    def pseudonym(self, typed: str) -> str:
        """Return the pseudonym of a patient: HMAC-SHA256 of what was typed, in one form of writing, in hexadecimal."""
        written = " ".join(unicodedata.normalize("NFKC", typed).casefold().split())
        return hmac.new(self._pseudonyms, written.encode(), hashlib.sha256).hexdigest()

    def seal(self, data: bytes, context: str) -> bytes:
        """Encrypt by AES-256-GCM; it opens only with the same context, the name of the picture."""
        nonce = os.urandom(_NONCE)
        return nonce + AESGCM(self._pictures).encrypt(nonce, data, context.encode())

    def open(self, sealed: bytes, context: str) -> bytes:
        """Return what was sealed; RecordError if it was changed, or sealed with another key or for another name."""
        try:
            return AESGCM(self._pictures).decrypt(sealed[:_NONCE], sealed[_NONCE:], context.encode())
        except (InvalidTag, ValueError):
            raise RecordError("The picture cannot be opened: it was changed, or the key is another one.") from None


def problem(session: Session, keys: Keys | None) -> str:
    """Return what is wrong with the key for this record, as a sentence; empty if nothing is."""
    begun_with = session.scalars(select(RecordKey.fingerprint)).first()
    if keys is None:
        if begun_with is None:
            return NO_KEY
        return (
            "This record was begun with a DERMLENS_RECORD_KEY, and there is none now: its patients cannot be found and "
            "its pictures not opened, so neither is saved until the key is back. Answers are kept and shown as before."
        )
    return "" if begun_with in (None, keys.fingerprint) else OTHER_KEY


def begin(session: Session, keys: Keys) -> None:
    """Remember the first key that something was saved with; RecordError if it is another one now."""
    if said := problem(session, keys):
        raise RecordError(said)
    if session.get(RecordKey, keys.fingerprint) is None:
        session.add(RecordKey(fingerprint=keys.fingerprint, since=datetime.now(UTC)))

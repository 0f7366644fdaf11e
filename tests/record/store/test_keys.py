import base64
import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from dermlens.errors import ConfigError, RecordError
from dermlens.record import settings
from dermlens.record.open import Record, open_record
from dermlens.record.settings import Settings
from dermlens.record.store import keys as key_store
from dermlens.record.store.keys import Keys
from tests.record.filled import KEY, fill

OTHER = bytes(range(1, 33))


def test_a_pseudonym_is_the_hmac_of_one_way_to_write_a_name() -> None:
    keys = Keys(KEY)
    own = HKDF(SHA256(), 32, None, b"dermlens record pseudonyms").derive(KEY)
    expected = hmac.new(own, "müller anna 1.2.1960".encode(), hashlib.sha256).hexdigest()
    for typed in ("Müller Anna 1.2.1960", "  MÜLLER  Anna\t1.2.1960 ", "Mu\u0308ller Anna 1.2.1960"):
        assert keys.pseudonym(typed) == expected
    assert keys.pseudonym("Müller Anna 2.2.1960") != expected
    assert Keys(OTHER).pseudonym("Müller Anna 1.2.1960") != expected


def test_what_is_sealed_opens_with_its_key_and_name_alone() -> None:
    sealed = Keys(KEY).seal(b"pixels", "a")
    assert b"pixels" not in sealed
    assert Keys(KEY).open(sealed, "a") == b"pixels"
    changed = sealed[:-1] + bytes([sealed[-1] ^ 1])
    for keys, data, name in (
        (Keys(OTHER), sealed, "a"),
        (Keys(KEY), changed, "a"),
        (Keys(KEY), sealed, "b"),
        (Keys(KEY), b"", "a"),
    ):
        with pytest.raises(RecordError, match="cannot be opened"):
            keys.open(data, name)
    assert Keys(KEY).seal(b"pixels", "a") != sealed


def test_a_lost_or_changed_key_is_noticed_and_said(record: Record) -> None:
    url = record.settings.database
    assert record.notice == ""
    assert open_record(Settings(url)).notice == key_store.NO_KEY
    fill(record, 2)
    assert open_record(Settings(url, key=KEY)).notice == ""
    lost, changed = open_record(Settings(url)), open_record(Settings(url, key=OTHER))
    assert "there is none now" in lost.notice
    assert changed.notice == key_store.OTHER_KEY
    assert (lost.keys, changed.keys, changed.pictures) == (None, None, None)


def test_a_key_is_read_from_the_environment_or_a_file(tmp_path) -> None:
    base = {settings.DATABASE: "sqlite:////x.db"}
    file = tmp_path / "key"
    file.write_text(f"{KEY.hex()}\n")
    for given in (
        {settings.KEY: KEY.hex()},
        {settings.KEY: base64.b64encode(KEY).decode()},
        {settings.KEY_FILE: str(file)},
    ):
        assert settings.read({**base, **given}).key == KEY
    assert settings.read(base).key is None
    for given in ({settings.KEY: "short"}, {settings.KEY: "00" * 31}):
        with pytest.raises(ConfigError, match="32 bytes"):
            settings.read({**base, **given})
    with pytest.raises(ConfigError, match="not both"):
        settings.read({**base, settings.KEY: KEY.hex(), settings.KEY_FILE: str(file)})
    with pytest.raises(ConfigError, match="no such file"):
        settings.read({**base, settings.KEY_FILE: str(tmp_path / "nowhere")})


def test_settings_that_cannot_be_are_told() -> None:
    base = {settings.DATABASE: "sqlite:////x.db"}
    with pytest.raises(ConfigError, match="No record is kept"):
        settings.read({})
    for name, value in ((settings.DAYS, "0"), (settings.DAYS, "a year"), (settings.STUDY, "yes")):
        with pytest.raises(ConfigError, match=name):
            settings.read({**base, name: value})
    found = settings.read({**base, settings.STUDY: "1", settings.DAYS: "30", settings.GROUP_CLAIM: "teams"})
    assert (found.study, found.days, found.group_claim, found.role_claim) == (True, 30, "teams", "roles")

"""The record as it was set up: its database at the right version, its keys and its pictures."""

from dataclasses import dataclass

from dermlens.record.settings import Settings
from dermlens.record.store import keys as key_store
from dermlens.record.store import schema
from dermlens.record.store.database import Database
from dermlens.record.store.keys import Keys
from dermlens.record.store.pictures import Pictures


@dataclass(frozen=True, eq=False)
class Record:
    """An open record."""

    settings: Settings
    database: Database
    keys: Keys | None
    """None without a key, or with another one than the record was begun with"""
    pictures: Pictures | None
    """None where no pictures can be kept"""
    notice: str
    """what is wrong with the key, a sentence; empty if nothing is"""


def open_record(settings: Settings) -> Record:
    """Open the record; an empty database gets its tables.

    Raises:
        ConfigError: a setting cannot be used.
        RecordError: the database cannot be reached, is older or newer; or the folder of pictures cannot be made.
    """
    database = Database(settings.database)
    keys = Keys(settings.key) if settings.key else None
    schema.check(database)
    with database.reading() as session:
        notice = key_store.problem(session, keys)
    usable = None if notice else keys
    pictures = Pictures(settings.pictures, usable) if settings.pictures and usable else None
    return Record(settings, database, usable, pictures, notice)

"""Look after the record that DERMLENS_DATABASE names: `python -m dermlens.record verify`.

Anybody who may read the server's environment may do all of this: roles bind people at the dashboard alone.
"""

import argparse
import secrets
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dermlens.errors import DermlensError
from dermlens.record import settings
from dermlens.wording import counted

if TYPE_CHECKING:
    from dermlens.record.store.database import Database

ANCHORS = Path("record-anchors.csv")


def key() -> int:
    """Print a new key."""
    print(secrets.token_hex(32))
    return 0


def migrate(to: str) -> int:
    """Change the tables to a revision."""
    from dermlens.record.store import schema
    from dermlens.record.store.database import Database

    database = Database(settings.read().database)
    before = schema.current(database)
    left = _kept_pictures(database) if to == "base" and before else ""
    schema.migrate(database, to)
    print(f"The record is at {schema.current(database) or 'none'}; it was at {before or 'none'}.")
    if left:
        print(left)
    return 0


def _kept_pictures(database: "Database") -> str:
    """Say which pictures outlive the tables, as nothing will name them any more; empty if there are none."""
    from sqlalchemy import select

    from dermlens.record.store.tables import Image

    with database.reading() as session:
        names = [name for name in session.scalars(select(Image.picture)) if name]
    if not names:
        return ""
    folders = sorted({name.partition("/")[0] for name in names})
    return (
        f"{counted(len(names), 'kept picture')} stayed, and no record will delete them: in their store, delete "
        f"{', '.join(folders)}."
    )


def verify(anchors: Path | None) -> int:
    """Check the chain and all rows; the exit status is 1 if anything was changed past the record."""
    from dermlens.record.open import open_record
    from dermlens.record.store import audit

    record = open_record(settings.read())
    kept = audit.read_anchors(anchors) if anchors else []
    with record.database.reading() as session:
        found = audit.verify(session, kept)
    for sentence in (*found.notices, *found.problems):
        print(sentence)
    if found.n_problems > len(found.problems):
        print(f"and {found.n_problems - len(found.problems):,} more.")
    where = f"{counted(found.lines, 'line')} about {counted(found.rows, 'row')}"
    against = f", and {counted(len(kept), 'anchor')}" if anchors else "; no anchors were given, which a cut end takes"
    if found.n_problems:
        print(f"NOT WHOLE: {counted(found.n_problems, 'problem')} in {where}{against}.")
        return 1
    print(f"Whole: {where}{against}.")
    return 0


def anchor(to: Path | None) -> int:
    """Print the head of the chain, or add it to a file."""
    from dermlens.record.open import open_record
    from dermlens.record.store import audit

    record = open_record(settings.read())
    with record.database.reading() as session:
        found = audit.head(session)
    if found is None:
        print("The record is empty: there is nothing to anchor.", file=sys.stderr)
        return 1
    line = audit.anchor_line(found)
    if to is None:
        print(line)
        return 0
    audit.append_anchor(to, found)
    print(f"Line {found.sequence:,} is anchored in {to}. Keep that file where nobody who can write the record can.")
    return 0


def expire() -> int:
    """Delete pictures whose term is over."""
    from dermlens.record import consent
    from dermlens.record.open import open_record

    print(f"{counted(consent.expire(open_record(settings.read())), 'picture')} deleted.")
    return 0


def second_look(folder: Path, group: str) -> int:
    """Write the cases worth a second look, with their pictures, to be labelled."""
    from dermlens.record.learning import second_look
    from dermlens.record.open import open_record
    from dermlens.record.people import Who

    written, left = second_look.write(open_record(settings.read()), Who("command", "admin", (group,)), folder)
    print(
        f"{counted(written, 'image')} in {folder}: fill in the column dx, then train with --labelled {folder}. "
        f"{counted(left, 'image')} left out: no picture was kept, or no patient agreed to training."
    )
    return 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m dermlens.record", description=__doc__.partition("\n")[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("key", help="print a new key for pseudonyms and pictures")
    commands.add_parser("upgrade", help="bring the tables to this version of Dermlens; make a copy of the record first")
    down = commands.add_parser("downgrade", help="bring the tables back to an older revision")
    down.add_argument("revision", help="as `upgrade` named it; base deletes all but kept pictures")
    check = commands.add_parser("verify", help="check that nothing was changed, deleted, put in or cut off")
    check.add_argument("--anchors", type=Path, help=f"file that `anchor --to` wrote, such as {ANCHORS}")
    head = commands.add_parser("anchor", help="print the head of the audit chain, for a daily mail or a time stamp")
    head.add_argument("--to", type=Path, help=f"add it to a file instead, such as {ANCHORS}")
    commands.add_parser("expire", help="delete pictures whose term is over")
    look = commands.add_parser("second-look", help="write the cases worth a second look to a folder, to be labelled")
    look.add_argument("folder", type=Path, help="made if it is not there; its pictures are not encrypted")
    look.add_argument("--group", default="local", help="whose cases (default: local, of those who do not sign in)")
    given = parser.parse_args(arguments)
    run = {
        "key": key,
        "upgrade": lambda: migrate("head"),
        "downgrade": lambda: migrate(given.revision),
        "verify": lambda: verify(given.anchors),
        "anchor": lambda: anchor(given.to),
        "expire": expire,
        "second-look": lambda: second_look(given.folder, given.group),
    }
    try:
        if given.command != "key":
            settings.need_packages()
        return run[given.command]()
    except DermlensError as e:
        print(e, file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

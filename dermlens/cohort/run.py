"""A run over a cohort: list the images, find which shards are missing, have them worked on."""

import sys
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from tqdm import tqdm

from dermlens.cohort import local_pool, manifest, part, ray_pool
from dermlens.cohort.lock import only_run
from dermlens.cohort.manifest import Manifest
from dermlens.cohort.part import Footer
from dermlens.cohort.store import Place
from dermlens.cohort.work import Work, differences, made_from
from dermlens.errors import DataError
from dermlens.files.documents import encode_object, read_object
from dermlens.ingest.folder import Found
from dermlens.models.registry import Entry
from dermlens.server.hardware import available_cores
from dermlens.wording import counted

RECORD = "cohort.json"
READERS = 16
"""Footers that are read at once; an object store takes its time for each."""


@dataclass(frozen=True)
class Settings:
    """What a person chooses."""

    source: str
    """folder, list or address of the images"""
    output: Place
    class_mix: str
    """key of class_mix.AT"""
    stored_aspect: str = "as-is"
    maps: bool = False
    workers: int | None = None
    """processes; one a core by default"""
    ray: str = ""
    """address of a Ray cluster, or "local"; empty for processes on this machine"""
    shard_rows: int | None = None


def run(entry: Entry, settings: Settings, what: str) -> Found:
    """Answer every image of a cohort; what an earlier run has left is gone on with.

    Args:
        entry: the model. settings: as a person chose them. what: is shown with the progress.

    Returns:
        The images, and what was passed over.

    Raises:
        DataError: the images cannot be listed, the output belongs to something else or cannot be written, or a shard
            could not be finished. ModelError: the model cannot be used.
    """
    listed, source, found = manifest.list_images(settings.source, settings.shard_rows)
    return work_on(entry, settings, what, listed, source, found)


def work_on(entry: Entry, settings: Settings, what: str, listed: Manifest, source: Place, found: Found) -> Found:
    """Do what `run` does for images that are listed already."""
    output = settings.output
    if output.local and output.local.exists() and not output.local.is_dir():
        raise DataError(f"{output.shown} is a file. Give --output a folder.")
    wanted = made_from(entry, settings.stored_aspect, settings.class_mix, settings.maps, listed.paths_sha256())
    with only_run(output):
        _work_on(entry, settings, what, listed, source, wanted)
    return found


def _work_on(
    entry: Entry, settings: Settings, what: str, listed: Manifest, source: Place, wanted: dict[str, str]
) -> None:
    output = settings.output
    _refuse_another(output, wanted)
    missing = missing_shards(output, listed, wanted)
    output.write(manifest.FILE, manifest.encode(listed))
    record = {
        **wanted,
        "model_name": entry.name,
        "input": source.shown,
        "rows": len(listed.table),
        "shard_rows": listed.shard_rows,
    }
    output.write(RECORD, encode_object(record))
    if missing:
        work = Work(
            str(entry.folder.parent.absolute()),
            entry.id,
            source,
            output,
            settings.stored_aspect,
            settings.class_mix,
            settings.maps,
            tuple(wanted.items()),
        )
        rows = len(listed.table)
        todo = sum(len(listed.shard(n)) for n in missing)
        with tqdm(total=rows, initial=rows - todo, unit="image", desc=what, file=sys.stderr) as bar:
            if settings.ray:
                ray_pool.run(work, missing, settings.ray, settings.workers, lambda n: bar.update(len(listed.shard(n))))
            else:
                local_pool.run(work, missing, settings.workers or available_cores(), bar.update)
    left = missing_shards(output, listed, wanted)
    if left:
        raise DataError(f"{counted(len(left), 'shard')} changed or went missing meanwhile: run the same command again.")
    output.remove_partial()


def footers(output: Place, numbers: Iterable[int]) -> list[Footer | None]:
    """Read the footers of parts, in the order of their numbers."""
    with ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(lambda number: part.read_footer(output, number), numbers))


def present(output: Place) -> list[int]:
    """Return the numbers of the parts in an output folder, in their order."""
    return [number for item in output.items() if (number := part.number_of(item.path)) is not None]


def missing_shards(output: Place, listed: Manifest, wanted: dict[str, str]) -> list[int]:
    """Return the shards without a part that was made from the images as they are now.

    Raises:
        DataError: a part was made from something else than is wanted now.
    """
    fresh = set()
    here = [number for number in present(output) if number < listed.shards]
    for footer in footers(output, here):
        if footer is None:
            continue
        refuse_other(f"{output.shown}/{part.name_of(footer.number)} was made", footer.values, wanted)
        rows = listed.shard(footer.number)
        if footer.count("rows") == len(rows) and footer.values[part.SHARD] == manifest.shard_sha256(rows):
            fresh.add(footer.number)
    return [number for number in range(listed.shards) if number not in fresh]


def refuse_other(subject: str, then: Mapping[str, str], wanted: Mapping[str, str]) -> None:
    """Raise DataError, a sentence that begins with its subject, if what was made is not of what is wanted."""
    if other := differences(then, wanted):
        raise DataError(f"{subject} with another {', '.join(other)}. Choose another output, or delete this one.")


def _refuse_another(output: Place, wanted: dict[str, str]) -> None:
    """Raise DataError if an output folder belongs to another run."""
    if output.has(RECORD):
        record = read_object(output.document(RECORD))
        refuse_other(f"{output.shown} belongs to a run", {k: str(v) for k, v in record.items()}, wanted)
    elif present(output):
        raise DataError(f"{output.shown} holds parts but no {RECORD}. Choose another folder.")

"""Faults injected into Dermlens. `python -m tests.faults [--quick] [NAME...]` prints what became of each.

Nothing that was finished may be lost, and each fault must be told in one clear sentence. The faults are real: a file
system that is full or read-only (mounted for one child process and gone with it), processes ended by SIGKILL, files cut
and changed under way. The clock is set back within this process only.
"""

import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.faults.kit import Count
from tests.faults.models import model_files
from tests.faults.record import FAULTS as RECORD
from tests.faults.servers import decoder_killed, server_killed
from tests.faults.surroundings import cache_deleted, clock_set_back, port_in_use
from tests.faults.writing import full_disk, killed_while_writing

Fault = Callable[[bool, Path, Path], Count]
"""(full size?, an empty folder of its own, a models folder that it must leave as it is) -> what became of it."""
QUICK: tuple[Fault, ...] = (
    *(model_files, full_disk, killed_while_writing, server_killed, decoder_killed),
    *(clock_set_back, cache_deleted, port_in_use),
    *RECORD,
)


def run(full: bool, only: Iterable[str] = ()) -> list[dict]:
    """Inject every fault, or `only` some; without `full` those that take seconds.

    Returns:
        Rows with what, tried, survived, refused, lost, worst_seconds, worst_memory_mb and note.
    """
    from tests.conftest import publish_toy, toy_network
    from tests.dashboard import fill

    chosen = [f for f in faults(full) if not only or f.__name__ in only]
    with tempfile.TemporaryDirectory(prefix="dermlens-faults-") as scratch:
        models = Path(scratch, "models")
        for seed, name in enumerate(("toy", "toy2")):
            publish_toy(models / name, toy_network(seed=seed))
            fill(models / name, seed=seed, share=0.1)
        return [inject(fault, full, Path(scratch, fault.__name__), models) for fault in chosen]


def faults(full: bool) -> Sequence[Fault]:
    """Return the faults in the order of the report."""
    if not full:
        return QUICK
    from tests.faults.training import SLOW

    return (*QUICK, *SLOW)


def inject(fault: Fault, full: bool, folder: Path, models: Path) -> dict:
    """Inject one fault in a folder of its own; one that cannot even be injected is a row that says so."""
    folder.mkdir()
    try:
        return fault(full, folder, models).row()
    except Exception as e:  # noqa: BLE001 - the others go on
        count = Count(fault.__name__.replace("_", " "), tried=1)
        count.wrong.append(f"it could not be injected: {type(e).__name__}: {e}")
        return count.row()

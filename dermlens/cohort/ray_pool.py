"""Workers on the machines of a Ray cluster; only the numbers of shards go over its object store, never pixels."""

from collections.abc import Callable, Sequence
from typing import Any

from dermlens.cohort.local_pool import ONE_THREAD, attempt
from dermlens.cohort.work import Work, Worker
from dermlens.errors import ConfigError, DataError, DermlensError

SHARE = 0.99
"""Of a core, which a worker asks for: with workers on all cores, none would be left for Ray Data itself."""


class _Actor:
    """A worker, as Ray Data calls it."""

    work: Work
    """set in a subclass, which travels with the code: an argument could be lost with the machine that holds it"""

    def __init__(self) -> None:
        self.worker: Worker | None = None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Work on the one shard of a batch; what is returned is its number, and why it could not be finished."""
        (number,) = map(int, batch["item"])
        try:
            worker = self.worker = self.worker or Worker(self.work)
            attempt(number, lambda: worker(number))
        except DermlensError as e:
            return {"item": [number], "reason": [str(e)]}
        return {"item": [number], "reason": [""]}


def run(work: Work, shards: Sequence[int], address: str, workers: int | None, tell: Callable[[int], object]) -> None:
    """Work on shards until all are done. Models, images and output must have the same paths on every machine.

    Ray Data starts what was killed again, worker or machine, as often as it takes.

    Args:
        work, shards: as for `local_pool.run`. address: of a cluster, or "local" to start one here.
        workers: how many; one a core of the cluster by default.
        tell: is called with the number of every shard that is done.

    Raises:
        ConfigError: Ray is not installed. DataError: a shard could not be finished, or the cluster is gone.
    """
    try:
        import ray
        import ray.data
    except ImportError as e:
        raise ConfigError("Ray is not installed: pip install -r requirements-cluster.txt.") from e
    started_here = not ray.is_initialized()
    try:
        if started_here:
            # Ray sets as many threads as a task asks for cores, and at least one, in some libraries only.
            here = {"include_dashboard": False} if address == "local" else {}
            ray.init(address=address, runtime_env={"env_vars": ONE_THREAD}, log_to_driver=False, **here)
        ray.data.DataContext.get_current().enable_progress_bars = False
        size = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        done = ray.data.from_items([int(n) for n in shards], override_num_blocks=len(shards)).map_batches(
            type("_Actor", (_Actor,), {"work": work}),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(size, len(shards)), max_tasks_in_flight_per_actor=2),
            num_cpus=SHARE,
        )
        for row in done.iter_rows():
            if row["reason"]:
                raise DataError(row["reason"])
            tell(int(row["item"]))
    except (ray.exceptions.RayError, ConnectionError) as e:
        said = str(e).strip().splitlines() or [type(e).__name__]
        raise DataError(f"Ray stopped: {said[-1]} Run the same command again to go on.") from e
    finally:
        if started_here:
            ray.shutdown()

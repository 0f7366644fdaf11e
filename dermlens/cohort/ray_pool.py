"""Workers on the machines of a Ray cluster; only the numbers of shards and of rows go over its object store."""

from collections.abc import Callable, Sequence
from typing import Any

from dermlens.cohort.local_pool import ONE_THREAD, TRIES
from dermlens.cohort.work import Work, Worker
from dermlens.errors import ConfigError, DataError

CPUS = 1
"""Of a worker."""
SPARE = 0.01
"""Of a core, by which a worker asks for less than one, so that workers on all cores leave Ray Data room to plan."""


class _Actor:
    """A worker, as Ray Data calls it."""

    def __init__(self, work: Work) -> None:
        self.work, self.worker = work, None

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Work on the shards of a batch, which is one; what is returned is their numbers."""
        self.worker = self.worker or Worker(self.work)
        for number in batch["item"]:
            self.worker(int(number))
        return batch


def run(work: Work, shards: Sequence[int], address: str, workers: int | None, tell: Callable[[int], object]) -> None:
    """Work on shards until all are done, or those that can be; output and models must be the same on every machine.

    Args:
        work, shards: as for `local_pool.run`. address: of a cluster, or "local" to start one here.
        workers: how many; one a core of the cluster by default.
        tell: is called with the number of every shard that is done.

    Raises:
        ConfigError: Ray is not installed. DataError: a shard could not be finished.
    """
    try:
        import ray
        import ray.data
    except ImportError as e:
        raise ConfigError("Ray is not installed: pip install -r requirements-cluster.txt.") from e
    started_here = not ray.is_initialized()
    if started_here:
        ray.init(
            address=None if address == "local" else address,
            runtime_env={"env_vars": ONE_THREAD},  # Ray would set as many as a task has CPUs
            log_to_driver=False,
            configure_logging=False,
            include_dashboard=False if address == "local" else None,
        )
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        size = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        numbers = ray.data.from_items([int(n) for n in shards], override_num_blocks=len(shards))
        done = numbers.map_batches(
            _Actor,
            fn_constructor_args=(work,),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(size=min(size, len(shards)), max_tasks_in_flight_per_actor=2),
            num_cpus=CPUS - SPARE,
            max_restarts=-1,
            max_task_retries=TRIES,
        )
        for row in done.iter_rows():
            tell(int(row["item"]))
    except ray.exceptions.RayError as e:
        raise DataError(f"Ray stopped: {str(e).splitlines()[-1]} Run the same command again to go on.") from e
    finally:
        if started_here:
            ray.shutdown()

"""Connect to the workers of a scheduler, or start workers on this machine for one batch."""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.batch.task_queue import Worker
from spikelab.system.extras import install_command
from spikelab.system.gpus import gpus
from spikelab.system.memory import parse_memory
from spikelab.system.resources import available_cores, available_memory

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from distributed import Client

    from spikelab.spike_sorting.run.jobs import Job

logger = logging.getLogger(__name__)

USABLE_SHARE = 0.9  # of the memory that is available
CONNECT_S = 30
START_S = 300
START_TRIES = 3
GONE = ("closed", "failed")  # values of a worker's status; a killed worker is not listed at all
QUIET = logging.CRITICAL  # for dask: lost workers and their recordings are reported by the batch
# A terminal sends Ctrl-C to all processes; the client, which gets it too, ends the tasks of its workers in order.
NO_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"
# Spilling moves results of tasks to disk, which are small here; pausing stops new tasks when a sort needs memory.
DASK_SETTINGS = {
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    "distributed.scheduler.allowed-failures": 0,
    "distributed.comm.timeouts.connect": f"{CONNECT_S}s",
    # A worker that died is started again, and given up after that; imports take longer than 15 s on a busy machine.
    "distributed.deploy.lost-worker-timeout": f"{START_S}s",
}


@dataclass(frozen=True)
class Cluster:
    """A dask client, and the workers that were started for this batch."""

    client: Client
    cores: int | None = None  # for each worker, where workers share this machine
    own: Any = None  # SpecCluster with the workers of this batch; None where the cluster is external

    @property
    def local(self) -> bool:
        """Whether the workers were started for this batch, on this machine."""
        return self.own is not None

    @property
    def dashboard(self) -> str:
        """Address of the page that shows the workers; "" where the scheduler has none."""
        if self.local and importlib.util.find_spec("bokeh") is None:
            return ""
        with suppress(Exception):  # the batch does not fail for a link
            return str(self.client.dashboard_link)
        return ""

    def mend(self) -> None:
        """Restart own workers that died while they started, on which dask gives up."""
        if self.own is not None:
            self.own.sync(_replace_dead, self.own)

    def workers(self) -> list[Worker]:
        """List the workers that live; EnvironmentSortFailure where the scheduler does not answer any more."""
        try:
            if self.client.scheduler is None or self.client.status not in ("running", "connecting"):
                raise OSError(f"the client is {self.client.status}")  # noqa: TRY301
            # Not scheduler_info: its result is overwritten in the background, with no workers in it.
            found = self.client.sync(self.client.scheduler.identity, n_workers=-1)["workers"]
            return [_worker(address, about) for address, about in found.items() if about.get("status") not in GONE]
        except (AttributeError, KeyError, TypeError) as error:
            raise _unknown_dask(error) from error
        except (OSError, TimeoutError, ValueError, RuntimeError) as error:
            raise EnvironmentSortFailure(
                f"the scheduler of the cluster does not answer any more ({error}). What is finished is on disk: start "
                "the scheduler and its workers again, then give the same command, which continues where it stopped"
            ) from error


def _unknown_dask(error: Exception) -> EnvironmentSortFailure:
    """Report that this version of dask describes its workers in another way: the description is not public."""
    return EnvironmentSortFailure(
        f"distributed {version('distributed')} does not tell of its workers as spikelab expects it to "
        f"({type(error).__name__}: {error}). Install the versions that spikelab is tested with: "
        f"{install_command('distributed')} -c constraints.txt (of spikelab's clone)"
    )


def _worker(address: str, about: dict[str, Any]) -> Worker:
    return Worker(
        address=address,
        host=str(about.get("host") or address),
        gpus=float((about.get("resources") or {}).get("GPU", 0)),
        memory=int(about["memory_limit"]) or None if about.get("memory_limit") else None,
        takes_tasks=about.get("status") == "running",
    )


async def _replace_dead(cluster: Any) -> None:
    for name, nanny in list(cluster.workers.items()):
        if nanny.status.name in GONE:
            del cluster.workers[name]
    if len(cluster.workers) < len(cluster.worker_spec):
        cluster.scale(len(cluster.worker_spec))


@contextmanager
def connected(scheduler: Any, jobs: Sequence[Job], workers: int | None, *, with_gpus: bool) -> Iterator[Cluster]:
    """Connect to a cluster, or start one on this machine for `jobs` and end it afterwards.

    `scheduler` and `workers` are those of :func:`~spikelab.spike_sorting.batch.on_cluster.sort_many`. `with_gpus`:
    whether a job can use a GPU.

    Raises
    ------
    EnvironmentSortFailure
        If dask is not installed, or nothing answers at the address.
    """
    require_dask()
    import dask
    from distributed import Client

    if isinstance(scheduler, Client):
        yield Cluster(scheduler)
        return
    with dask.config.set(DASK_SETTINGS):
        if scheduler is not None:
            with _client_of(str(scheduler)) as client:
                yield Cluster(client)
            return
        require_main_guard()
        names = gpu_names() if with_gpus else []
        count = workers or local_workers(jobs)
        with _started(count, names) as own, Client(own) as client:
            client.wait_for_workers(1, timeout=START_S)
            yield Cluster(client, max(1, available_cores() // count), own)


def require_dask() -> None:
    """Raise EnvironmentSortFailure where dask.distributed is not installed."""
    if importlib.util.find_spec("distributed") is None:
        raise EnvironmentSortFailure(
            f"this needs dask.distributed: {install_command('distributed')}. Without it, "
            "spikelab batch MANIFEST --plan DIR writes a job file for each recording and scripts that run them"
        )


def require_main_guard() -> None:
    """Raise EnvironmentSortFailure in a script that would run once more in every process that it starts."""
    script = getattr(sys.modules["__main__"], "__file__", None)
    try:
        guarded = script is None or "__main__" in Path(script).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    if not guarded:
        raise EnvironmentSortFailure(
            f"sort_many starts processes, and each of them would run {script} from its beginning, and start more. Put "
            f"what it does below a line 'if __name__ == \"__main__\":', indented"
        )


def _client_of(address: str) -> Client:
    from distributed import Client

    try:
        return Client(address, timeout=CONNECT_S)
    except (OSError, ValueError, TimeoutError) as error:
        raise EnvironmentSortFailure(
            f"no dask scheduler answers at {address} within {CONNECT_S} s ({error}). Check first whether it runs "
            "(dask scheduler) and whether the address, such as tcp://node1:8786, is the one that it printed"
        ) from error


def local_workers(jobs: Sequence[Job]) -> int:
    """Count the workers that this machine has cores and memory for."""
    cores = max(min(job.config.execution.n_jobs, available_cores()) for job in jobs)
    memory = max(parse_memory(job.config.execution.total_memory) for job in jobs)
    fit = min(available_cores() // cores, int(USABLE_SHARE * available_memory()) // max(memory, 1))
    return max(1, min(fit, len(jobs)))


def gpu_names() -> list[str]:
    """Get the value of ``CUDA_VISIBLE_DEVICES`` for each GPU of this machine that may be used."""
    setting = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    names = [name.strip() for name in setting.split(",") if name.strip()]
    if any(not name.isdecimal() for name in names):  # by UUID
        return [name for name in names if name != "-1"]
    return [str(gpu.index) for gpu in gpus().found]


def worker_specifications(count: int, gpu: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Make the options of workers of this machine: one for each GPU, which sees that GPU alone, and `count` without."""
    memory = int(USABLE_SHARE * available_memory()) // (count + len(gpu))
    common = {"nthreads": 1, "memory_limit": memory, "dashboard": False, "silence_logs": QUIET, "preload": [NO_CTRL_C]}
    hidden = {"env": {"CUDA_VISIBLE_DEVICES": ""}} if gpu else {}
    return {
        **{f"gpu-{n}": {**common, "resources": {"GPU": 1}, "env": {"CUDA_VISIBLE_DEVICES": n}} for n in gpu},
        **{f"cpu-{number}": {**common, **hidden} for number in range(count)},
    }


def _started(count: int, gpu: Sequence[str], tries: int = START_TRIES) -> Any:
    """Start workers on this machine, with several tries: a worker may die while it starts."""
    try:
        return _local_cluster(count, gpu)
    except Exception as error:
        if tries > 1:
            logger.warning("workers did not start (%s); another try", error)
            return _started(count, gpu, tries - 1)
        raise EnvironmentSortFailure(
            f"no workers could be started on this machine, tried {START_TRIES} times: {error}. Check first whether "
            "there are memory, processes and file handles left for them, and whether the temporary folder can be "
            "written to"
        ) from error


def _local_cluster(count: int, gpu: Sequence[str]) -> Any:
    from distributed import Nanny, Scheduler, SpecCluster

    dashboard = importlib.util.find_spec("bokeh") is not None
    scheduler = {"host": "127.0.0.1", "dashboard": dashboard, "dashboard_address": "127.0.0.1:0"}
    workers = {
        name: {"cls": Nanny, "options": {"host": "127.0.0.1", **options}}
        for name, options in worker_specifications(count, gpu).items()
    }
    return SpecCluster(
        workers=workers, scheduler={"cls": Scheduler, "options": scheduler}, silence_logs=QUIET, name="spikelab"
    )

"""Sort many recordings on a dask cluster, with the same jobs, stages and policies as in one process.

The results folders hold the state. A task loads the finished stages of its job and continues, so that a worker, a
scheduler or a client that dies costs the stages that were under way. Tasks return numbers and paths only.
"""

from __future__ import annotations

import logging
import queue
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import EnvironmentSortFailure, FolderUnusableError, ResourceSortFailure
from spikelab.spike_sorting.backends import get_backend_class
from spikelab.spike_sorting.backends.base import GPU_UNUSED
from spikelab.spike_sorting.batch import worker as _worker
from spikelab.spike_sorting.batch.cluster import Cluster, connected
from spikelab.spike_sorting.batch.entries import DEFAULT_SCRATCH
from spikelab.spike_sorting.batch.jobfile import write_batch
from spikelab.spike_sorting.batch.manifest import jobs_from_entries, read_manifest
from spikelab.spike_sorting.batch.overview import write_overview, write_overview_page
from spikelab.spike_sorting.batch.policy import Outcome, Policy, concerns_host, raise_failures
from spikelab.spike_sorting.batch.task_queue import Task, TaskQueue, Worker
from spikelab.spike_sorting.batch.worker import TaskResult
from spikelab.spike_sorting.run.jobs import Job, overview_folder
from spikelab.spike_sorting.run.record import failure_line
from spikelab.spike_sorting.run.sort_one import Limits

if TYPE_CHECKING:
    from distributed import Future

logger = logging.getLogger(__name__)

CHECK_S = 1.0
LOST_DELAY_S = 3.0  # until descendants of a dead worker have ended
BUSY_DELAY_S = 5.0
WARN_AGAIN_S = 60.0
LOST_AT_MOST = 2
FETCH_S, FETCH_STEP_S = 60, 2
END_S = 15.0
PAGE_EVERY_S = 5.0
PAGE_SHARE = 0.05  # of the time may go into the page of the batch

Watch = Callable[["Batch"], None]


def sort_many(
    jobs: str | Path | Sequence[Job | Mapping[str, Any]], scheduler: Any = None, *, workers: int | None = None
) -> list[Outcome]:
    """Sort many recordings and streams on a dask cluster, or on several processes of this machine.

    Call it again to continue after anything that ended it. A script that calls it without `scheduler` needs
    ``if __name__ == "__main__":`` around the call, as for everything that starts processes.

    Parameters
    ----------
    jobs : path or list
        A list of recordings as a file (TOML or CSV), or entries with the same keys: ``file`` (may be a pattern),
        ``stream``, ``sorter``, ``results``, ``intermediate``, ``config`` (a dict of flat settings). Workers must see
        the files under the same paths.
    scheduler : None, str or distributed.Client
        None starts workers on this machine and ends them afterwards; a string is the address of a scheduler.
    workers : int, optional
        Number of workers on this machine, besides one for each GPU where a sorter can use one. By default as many as
        have room with ``n_jobs`` cores and ``total_memory`` each.

    Returns
    -------
    list of Outcome
        In the order of `jobs`, one for each recording and stream: ``job.results`` is its folder, ``done`` has numbers,
        ``error`` why it failed, ``aligned`` reads its units.

    Raises
    ------
    ManifestError
        With every fault of the list, before anything is started.
    SortBatchError
        After all recordings were tried, where one failed and its ``on_failure`` is "raise"; ``results`` has the
        outcomes.
    EnvironmentSortFailure
        If there is no dask, or no scheduler that answers.

    Examples
    --------
    >>> entries = [{"file": "plate.raw.h5", "stream": "all", "sorter": "rt_sort", "results": "results"}]
    >>> outcomes = sort_many(entries, "tcp://node1:8786")  # doctest: +SKIP
    >>> [outcome.job.name for outcome in outcomes if outcome.error is not None]  # doctest: +SKIP
    []
    """
    if isinstance(jobs, str | Path):
        planned = read_manifest(jobs)
    elif all(isinstance(job, Job) for job in jobs):
        planned = list(jobs)  # type: ignore[arg-type]  # they are all jobs
    else:
        planned = jobs_from_entries(jobs)  # type: ignore[arg-type]  # or it says what is wrong
    outcomes = run_many(planned, scheduler, workers=workers)
    failed = [outcome for outcome in outcomes if outcome.error is not None]
    if any(outcome.job.config.execution.on_failure == "raise" for outcome in failed):
        raise_failures(outcomes, outcomes, "raise", lambda job: job.results)
    return outcomes


def run_many(
    jobs: Sequence[Job], scheduler: Any = None, *, workers: int | None = None, watch: Watch | None = None
) -> list[Outcome]:
    """Sort planned jobs as :func:`sort_many` does; failures are in the outcomes alone.

    `watch` is called with the batch about once a second.
    """
    if not jobs:
        return []
    for job in jobs:
        if not isinstance(job.recording_input, Path):
            raise TypeError(f"{job.name} is a recording in memory; workers read files: save it, and give the path")
    tasks = [_task(index, job) for index, job in enumerate(jobs)]
    write_batch(jobs, overview_folder(jobs))
    with connected(scheduler, jobs, workers, with_gpus=any(task.wants_gpu for task in tasks)) as cluster:
        batch = Batch(jobs, cluster, watch)
        if cluster.dashboard:
            logger.info("dashboard: %s", cluster.dashboard)
        batch.run(tasks)
    write_overview(batch.outcomes)
    for folder in {job.results.parent / DEFAULT_SCRATCH for job in jobs}:  # no job alone knows that it stays empty
        with suppress(OSError):  # there is none, or there is something in it
            folder.rmdir()
    return batch.outcomes


def _task(index: int, job: Job) -> Task:
    sorter, execution = job.config.sorter.sorter_name, job.config.execution
    wants_gpu = get_backend_class(sorter)(job.config).gpu_use() != GPU_UNUSED
    forced = execution.recompute_recording or execution.recompute_sorting  # a second task would do it all again
    sorts_more = job.config.validation.validate or bool(job.config.validation.sort_again)  # what follows sorts too
    return Task(index, sorter, wants_gpu=wants_gpu, may_be_split=not (forced or sorts_more))


class Batch:
    """Place the jobs of a batch on the workers of a cluster, and collect their outcomes."""

    def __init__(self, jobs: Sequence[Job], cluster: Cluster, watch: Watch | None = None) -> None:
        self.jobs, self.cluster, self.watch = jobs, cluster, watch
        self.outcomes = [Outcome(job) for job in jobs]
        self.running: dict[str, tuple[Task, Future[Any]]] = {}  # by address of the worker
        self.workers: dict[str, Worker] = {}  # by address
        self.name = uuid.uuid4().hex
        self.policy = Policy()
        self.waiting = TaskQueue(self.policy)
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.checked = self.paged = self.warned = 0.0
        self.page_took = 0.0

    def run(self, tasks: Sequence[Task]) -> None:
        """Run all tasks, or as many as the policy allows; ends running tasks when it is interrupted."""
        self.waiting.add(tasks)
        try:
            while self.waiting or self.running:
                self._check()
                self._start_tasks()
                self._collect_one()
        except BaseException:
            self._end_all()
            raise
        if any(not outcome.attempted for outcome in self.outcomes):
            logger.warning("the batch stops: the remaining recordings would fail the same way")

    def _check(self) -> None:
        """Update the workers, report to the user and restart dead workers; about once a second."""
        now = time.monotonic()
        if now - self.checked < CHECK_S:
            return
        self.checked = now
        self._update_workers()
        self._give_up()
        self.cluster.mend()
        self._warn_if_idle(now)
        if self.watch is not None:
            self.watch(self)
        self._update_page(now)

    def _update_workers(self) -> None:
        """List the workers of the cluster; tasks of workers that are gone are tried again."""
        self.workers = {worker.address: worker for worker in self.cluster.workers()}
        for address in [address for address in self.running if address not in self.workers]:
            task, future = self.running.pop(address)
            with suppress(Exception):
                future.cancel()
            self._retry_lost(task, f"worker {address} is gone")

    def _warn_if_idle(self, now: float) -> None:
        """Warn now and then while no worker takes tasks."""
        if self.running or any(worker.takes_tasks for worker in self.workers.values()):
            return
        if now - self.warned > WARN_AGAIN_S:
            self.warned = now
            what = "its workers are paused, which dask does when memory is short" if self.workers else "it has none"
            logger.warning("waiting for a worker of the cluster: %s", what)

    def _start_tasks(self) -> None:
        """Submit a task to every idle worker."""
        workers = list(self.workers.values())
        for worker in workers:
            if worker.address in self.running or not worker.takes_tasks:
                continue
            task = self.waiting.next_for(worker, workers, time.monotonic())
            if task is not None:
                self._submit(task, worker)

    def _submit(self, task: Task, worker: Worker) -> None:
        job = self.jobs[task.index]
        on_gpu = task.wants_gpu and task.part != "rest" and worker.gpus
        future = self.cluster.client.submit(
            _worker.run_task,
            job,
            task.part,
            self.name,
            Limits(self.cluster.cores, worker.memory),
            quiet=self.cluster.local,
            # Scheduler and workers keep statistics for every first element, for ever.
            key=(f"spikelab-{task.part}", job.name, uuid.uuid4().hex[:8]),
            workers=[worker.address],
            resources={"GPU": 1} if on_gpu else None,
            pure=False,
        )
        self.running[worker.address] = (task, future)
        future.add_done_callback(lambda _, address=worker.address: self.ended.put(address))

    def _give_up(self) -> None:
        """Fail tasks that may not be started on any host, once no task runs whose end could change that."""
        if self.running or not self.workers:
            return
        for task in self.waiting.hopeless(self.workers.values()):
            self.outcomes[task.index].error = task.error

    def _collect_one(self) -> None:
        """Wait for the end of a task, and record its result."""
        try:
            address = self.ended.get(timeout=CHECK_S)
        except queue.Empty:
            return
        task, future = self.running.get(address, (None, None))
        if task is None or future is None or not future.done():  # its worker was lost before
            return
        del self.running[address]
        worker = self.workers[address]
        try:
            result = self._fetch(future, address)
        except EnvironmentSortFailure:  # the scheduler is gone; errors of a task are in its result
            raise
        except Exception as error:  # noqa: BLE001 - an error that is in no result is the cluster's
            self._record_outside(task, worker, error)
        else:
            self._record(task, worker, result)

    def _fetch(self, future: Future[Any], address: str) -> Any:
        """Fetch the result of a task, unless its worker dies before the result has come."""
        end = time.monotonic() + FETCH_S
        while True:
            try:
                return future.result(timeout=FETCH_STEP_S)
            except TimeoutError:
                listed = any(worker.address == address for worker in self.cluster.workers())
                if not listed or time.monotonic() > end:
                    raise

    def _record_outside(self, task: Task, worker: Worker, error: Exception) -> None:
        """Record a task that ended without a result: its worker died, or could not start the task."""
        if future_was_lost(error):
            self.workers.pop(worker.address, None)  # the scheduler may not know yet
            self._retry_lost(task, f"worker {worker.address} is gone")
            return
        failure = EnvironmentSortFailure(
            f"the worker on {worker.host} could not start the sort ({type(error).__name__}: {error}). Check first "
            "whether the same versions of spikelab and Python are installed there as here"
        )
        self._record(task, worker, TaskResult(error=failure))

    def _retry_lost(self, task: Task, what: str) -> None:
        """Try the task of a dead worker again; a recording that kills every worker fails."""
        job = self.jobs[task.index]
        task.lost += 1
        if task.lost > LOST_AT_MOST:
            self.outcomes[task.index].error = ResourceSortFailure(
                f"{job.name}: {task.lost} workers were lost while they sorted it (the last: {what}). Most often the "
                "memory of the machine, or of the cluster's job, ran out: check first the log of the cluster, then "
                "give workers more memory or lower total_memory. What is finished is on disk"
            )
            return
        logger.warning("%s: %s; it is tried again", job.name, what)
        self.waiting.again(task, time.monotonic() + LOST_DELAY_S)

    def _record(self, task: Task, worker: Worker, result: TaskResult) -> None:
        job, outcome = self.jobs[task.index], self.outcomes[task.index]
        error = _as_unseen(job, worker, result.error)
        if result.interrupted:
            self._retry_lost(task, f"it was interrupted on {worker.host}")
        elif result.busy:
            self._retry_busy(task, job, error)
        elif error is None and result.done is None:  # the sorter's part
            task.part, task.host = "rest", worker.host
            self.waiting.add([task])
        elif isinstance(error, EnvironmentSortFailure):
            self._try_elsewhere(task, worker, error)
        else:
            outcome.done, outcome.error = result.done, error
            _log(outcome)

    def _retry_busy(self, task: Task, job: Job, error: Exception | None) -> None:
        """Try again later a job whose folders another run holds, perhaps one of a client that is gone."""
        now = time.monotonic()
        if now - self.warned > WARN_AGAIN_S:
            self.warned = now
            logger.warning("%s waits: %s", job.name, error)
        self.waiting.again(task, now + BUSY_DELAY_S)

    def _try_elsewhere(self, task: Task, worker: Worker, error: EnvironmentSortFailure) -> None:
        """Bar this job, or its sorter, from this host after a failure of the environment; try other hosts."""
        self.policy.note(worker.host, task.sorter, error)
        task.avoid.add(worker.host)
        job = self.jobs[task.index]
        if any(self.waiting.may_do(other.host, task) for other in self.workers.values()):
            what = f"nothing more with {task.sorter} is started" if concerns_host(error) else "it is not tried again"
            logger.warning("%s: %s on %s: %s", job.name, what, worker.host, error)
            task.error = error
            self.waiting.again(task)
        else:
            self.outcomes[task.index].error = error
            _log(self.outcomes[task.index])

    def _update_page(self, now: float) -> None:
        """Write the page of the batch, as often as it takes little time."""
        if now - self.paged < max(PAGE_EVERY_S, self.page_took / PAGE_SHARE) or len(self.jobs) < 2:
            return
        start = time.monotonic()
        write_overview_page(self.outcomes, under_way=True)
        self.paged = time.monotonic()
        self.page_took = self.paged - start

    def _end_all(self) -> None:
        """End running tasks, and wait for their end: dask's own cancelling lets a task that has begun go on."""
        with suppress(Exception):
            self.cluster.client.run(_worker.end_batch, self.name, on_error="ignore", wait=True)
            end = time.monotonic() + END_S
            futures = [future for _, future in self.running.values()]
            while time.monotonic() < end and not all(future.done() for future in futures):
                time.sleep(0.1)


def future_was_lost(error: Exception) -> bool:
    """Tell whether a task lost its worker, rather than failed."""
    from distributed import CancelledError, KilledWorker

    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, KilledWorker | CancelledError | TimeoutError) or "NoValidWorkerError" in names


def _as_unseen(job: Job, worker: Worker, error: Exception | None) -> Exception | None:
    """Convert the error of a file that the client sees and the worker does not: no fault of the recording."""
    if isinstance(error, FileNotFoundError) and not job.recording_input.exists():
        return error
    if isinstance(error, FileNotFoundError) and str(job.recording_input) in str(error):
        return FolderUnusableError(
            f"{job.recording_input} is there, but not on {worker.host}: workers must see recordings and folders under "
            "the same paths as you do (a shared drive)",
            unusable=job.recording_input,
        )
    return error


def _log(outcome: Outcome) -> None:
    """Log one line for a recording that ended."""
    if outcome.done is not None:
        done = outcome.done
        reasons = ", ".join(map(str, () if done.summary is None else done.summary.dropped))
        kept = f"{outcome.job.name}: {done.n_curated} of {done.n_units} units kept"
        logger.info("%s", f"{kept}; not kept: {reasons}" if reasons else kept)
    elif outcome.error is not None:
        logger.warning("%s: %s", outcome.job.name, failure_line(outcome.error))

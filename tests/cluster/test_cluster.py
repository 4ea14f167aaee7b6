"""Jobs on workers: the same bytes as in one process, and what happens when a worker, a host or the client fails.

Two workers in processes of their own, which say that they are on two hosts. Not covered here: hosts that are really
apart, real GPUs, batch systems.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cloudpickle
import dask
import psutil
import pytest
from distributed import Client, Nanny, Scheduler, SpecCluster, Status

from simulated import save_recording, simulate
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import EnvironmentSortFailure, GPUUnavailableError, SortBatchError
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.batch.cluster import DASK_SETTINGS, Cluster
from spikelab.spike_sorting.batch.manifest import jobs_from_entries
from spikelab.spike_sorting.batch.on_cluster import Batch, run_many, sort_many
from spikelab.spike_sorting.batch.status import job_state
from spikelab.spike_sorting.run.jobs import Job
from spikelab.spike_sorting.run.lock import locked

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="two loopback addresses, and signals"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
cloudpickle.register_pickle_by_value(sys.modules[__name__])

LOOSE: dict[str, Any] = {"spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "total_memory": "1G"}
HOSTS = ("127.0.0.1", "127.0.0.2")
NAMES = ("a", "b", "silent", "d")
FILES = ("sorted.npz", "sorted_spikedata_curated.npz")


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """Two workers on two hosts, or so they say."""
    common = {"nthreads": 1, "dashboard": False, "silence_logs": 50, "memory_limit": 4 * 2**30}
    with dask.config.set(DASK_SETTINGS):
        workers = {host: {"cls": Nanny, "options": {**common, "host": host}} for host in HOSTS}
        scheduler = {"cls": Scheduler, "options": {"dashboard": False, "dashboard_address": "127.0.0.1:0"}}
        with (
            SpecCluster(workers=workers, scheduler=scheduler, silence_logs=50) as cluster,
            Client(cluster) as client,
        ):
            client.wait_for_workers(2, timeout=300)
            yield client


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for seed, name in enumerate(NAMES):
        made = simulate(duration_s=3.0, seed=seed, n_units=0 if name == "silent" else 5)
        save_recording(made.recording, folder / name)
    return folder


@pytest.fixture(scope="module")
def expected(recordings: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[bytes]]:
    """What one process makes of them."""
    folders = [tmp_path_factory.mktemp(f"one_process_{name}") for name in NAMES]
    paths = [recordings / name for name in NAMES]
    sort_recording(paths, sorter="threshold", results_folders=folders, on_failure="skip", **LOOSE)
    return {n: contents(folder) for n, folder in zip(NAMES, folders, strict=True) if n != "silent"}


def contents(results: Path) -> list[bytes]:
    return [(results / name).read_bytes() for name in FILES]


def plan(recordings: Path, results: Path, names: tuple[str, ...] = NAMES) -> list[Job]:
    entries = [{"file": recordings / name, "sorter": "threshold", "config": LOOSE} for name in names]
    return jobs_from_entries(entries, {"results": results})


def record(job: Job) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((job.results / "run.json").read_text())
    return read


def wait_until(condition: Callable[[], object], within_s: float = 180) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.05)


def restored() -> None:
    if hasattr(ThresholdBackend, "original"):
        ThresholdBackend.sort = ThresholdBackend.original


def replaced(sort: Callable[..., Any]) -> None:
    restored()
    ThresholdBackend.original = ThresholdBackend.sort
    ThresholdBackend.sort = sort


def wait_for(flag: str) -> None:
    """The sorter waits until the file is gone."""

    def sort(self: Any, *arguments: Any) -> Any:
        while Path(flag).exists():
            time.sleep(0.02)
        return self.original(*arguments)

    replaced(sort)


def break_down() -> None:
    def sort(self: Any, *arguments: Any) -> Any:
        raise GPUUnavailableError("there is no GPU on this host", sorter="threshold")

    replaced(sort)


@pytest.fixture(autouse=True)
def _as_before(client: Client) -> Iterator[None]:
    yield
    client.wait_for_workers(2, timeout=300)
    client.run(restored)


def test_two_workers_make_the_same_bytes_as_one_process(
    client: Client, recordings: Path, expected: dict[str, list[bytes]], tmp_path: Path
) -> None:
    jobs = plan(recordings, tmp_path / "results")
    with pytest.raises(SortBatchError, match="1 of 4 recordings failed") as caught:
        sort_many(jobs, client)
    outcomes = caught.value.results
    assert [outcome.job.name for outcome in outcomes] == list(NAMES)
    assert [type(outcome.error).__name__ for outcome in outcomes] == ["NoneType"] * 2 + [
        "InsufficientActivityError",
        "NoneType",
    ]
    for outcome in outcomes:
        if outcome.done is not None:
            assert contents(outcome.job.results) == expected[outcome.job.name]
            assert outcome.done.results is None  # it did not come through the scheduler
            assert outcome.aligned[0].N == outcome.done.n_curated == 5
    page = (tmp_path / "results" / "sorted_threshold_overview" / "index.html").read_text()
    assert "3 of 4 sorted" in page
    assert not list((tmp_path / "results").rglob(".spikelab.lock*"))
    assert not any(client.run(lambda: multiprocessing.current_process().daemon).values())

    again = run_many(jobs, client)
    assert [outcome.done is None for outcome in again] == [False, False, True, False]
    assert all(stage["loaded"] for stage in record(jobs[0])["stages"].values())


@pytest.mark.slow
def test_figures_of_all_recordings_are_those_of_one_process(client: Client, recordings: Path, tmp_path: Path) -> None:
    jobs = plan(recordings, tmp_path / "results", ("a", "silent", "b"))
    drawn = [replace(job, config=job.config.override(create_figures=True)) for job in jobs]
    run_many(drawn, client)
    folders = [tmp_path / "alone" / f"sorted_threshold_{job.name}" for job in jobs]
    sort_recording(
        [job.recording_input for job in jobs], drawn[0].config.override(on_failure="skip"), results_folders=folders
    )
    there, here = (tmp_path / name / "sorted_threshold_overview" for name in ("results", "alone"))
    pictures = sorted(path.name for path in here.glob("*.png"))
    assert "curation_bar_plot.png" in pictures
    assert [(there / name).read_bytes() for name in pictures] == [(here / name).read_bytes() for name in pictures]


def test_a_lost_worker_costs_nothing_that_was_finished(
    client: Client, recordings: Path, expected: dict[str, list[bytes]], tmp_path: Path
) -> None:
    flag = tmp_path / "wait"
    flag.touch()
    client.run(wait_for, str(flag))
    jobs = plan(recordings, tmp_path / "results", ("a", "b"))
    killed: list[int] = []

    def kill(batch: Batch) -> None:
        if not killed and job_state("a", jobs[0].results).stage == "sorting":
            killed.append(record(jobs[0])["pid"])
            os.kill(killed[0], signal.SIGKILL)
            flag.unlink()

    outcomes = run_many(jobs, client, watch=kill)
    assert killed
    assert [outcome.error for outcome in outcomes] == [None, None]
    assert [contents(job.results) for job in jobs] == [expected["a"], expected["b"]]
    assert [run["status"] for run in record(jobs[0])["earlier_runs"]] == ["killed"]
    assert record(jobs[0])["stages"]["recording"]["loaded"]
    assert not list((tmp_path / "results").rglob(".spikelab.lock*"))


async def paused_for(seconds: float, dask_worker: Any) -> None:
    """What a worker of dask does when memory is short: it takes no tasks, and goes on with those that it has."""
    dask_worker.status = Status.paused
    dask_worker.loop.call_later(seconds, setattr, dask_worker, "status", Status.running)


def test_a_paused_worker_is_not_lost(
    client: Client, recordings: Path, expected: dict[str, list[bytes]], tmp_path: Path
) -> None:
    flag = tmp_path / "wait"
    flag.touch()
    client.run(wait_for, str(flag))
    jobs = plan(recordings, tmp_path / "results", ("a", "b", "d"))
    seen: list[list[bool]] = []

    def pause(batch: Batch) -> None:
        if not seen and all(job_state(job.name, job.results).stage == "sorting" for job in jobs[:2]):
            client.run(paused_for, 8.0)
            seen.append([])
        elif seen and len(seen) < 4:
            seen.append([worker.takes_tasks for worker in batch.workers.values()])
        elif seen:
            flag.unlink(missing_ok=True)

    outcomes = run_many(jobs, client, watch=pause)
    assert [outcome.error for outcome in outcomes] == [None] * 3
    assert [False, False] in seen  # they were seen to be paused
    assert all(len(there) == 2 for there in seen[1:])
    assert [record(job).get("earlier_runs") for job in jobs] == [[]] * 3  # nothing was started twice
    assert [contents(job.results) for job in jobs] == [expected[name] for name in ("a", "b", "d")]


def test_a_broken_host_does_not_stop_the_plate(client: Client, recordings: Path, tmp_path: Path) -> None:
    bad = [address for address, about in client.scheduler_info(n_workers=-1)["workers"].items() if HOSTS[1] in address]
    client.run(break_down, workers=bad)
    outcomes = run_many(plan(recordings, tmp_path / "results"), client)
    assert [outcome.done is None for outcome in outcomes] == [False, False, True, False]


def test_hosts_that_fail_alike_do(client: Client, recordings: Path, tmp_path: Path) -> None:
    client.run(break_down)
    outcomes = run_many(plan(recordings, tmp_path / "results"), client)
    assert {type(outcome.error).__name__ for outcome in outcomes} == {"GPUUnavailableError", "NoneType"}
    assert not any(outcome.done for outcome in outcomes)
    assert any(not outcome.attempted for outcome in outcomes)


def test_to_be_interrupted_ends_what_runs(client: Client, recordings: Path, tmp_path: Path) -> None:
    flag = tmp_path / "wait"
    flag.touch()
    client.run(wait_for, str(flag))
    jobs = plan(recordings, tmp_path / "results", ("a", "b"))

    def interrupt(batch: Batch) -> None:
        if all(job_state(job.name, job.results).stage == "sorting" for job in jobs):
            raise KeyboardInterrupt

    pids = client.run(os.getpid)
    with pytest.raises(KeyboardInterrupt):
        run_many(jobs, client, watch=interrupt)
    assert [record(job)["status"] for job in jobs] == ["interrupted"] * 2
    assert not list((tmp_path / "results").rglob(".spikelab.lock*"))
    assert client.run(os.getpid) == pids  # the workers go on
    flag.unlink()
    assert [outcome.error for outcome in run_many(jobs, client)] == [None, None]


def test_folders_in_use_are_waited_for(client: Client, recordings: Path, tmp_path: Path) -> None:
    (job,) = plan(recordings, tmp_path / "results", ("a",))
    free = threading.Event()

    def hold() -> None:
        with locked(job.results, job.intermediate):
            free.wait(8)

    holder = threading.Thread(target=hold)
    holder.start()
    wait_until(lambda: (job.results / ".spikelab.lock.json").exists())
    start = time.monotonic()
    (outcome,) = run_many([job], client)
    holder.join()
    assert outcome.error is None
    assert time.monotonic() - start > 5


def test_a_scheduler_that_is_not_there_is_said(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spikelab.spike_sorting.batch import cluster as _cluster

    monkeypatch.setattr(_cluster, "CONNECT_S", 1)
    with pytest.raises(EnvironmentSortFailure, match="no dask scheduler answers at tcp://127.0.0.1:9"):
        run_many(plan(recordings, tmp_path / "results", ("a",)), "tcp://127.0.0.1:9")


@pytest.mark.parametrize("identity", [None, {}, {"workers": None}], ids=["no such method", "nothing", "other things"])
def test_a_dask_that_has_changed_is_said(identity: Any) -> None:
    scheduler = SimpleNamespace() if identity is None else SimpleNamespace(identity=lambda n_workers: identity)
    other = SimpleNamespace(scheduler=scheduler, status="running", sync=lambda call, **keywords: call(**keywords))
    with pytest.raises(EnvironmentSortFailure, match=r"distributed \d+.* does not tell .*constraints\.txt"):
        Cluster(other).workers()  # type: ignore[arg-type]  # a stand-in for a client


@pytest.mark.slow  # starts two clusters
def test_a_killed_client_leaves_nothing_and_the_same_command_goes_on(
    recordings: Path, expected: dict[str, list[bytes]], tmp_path: Path
) -> None:
    lines = ["[defaults]", 'sorter = "threshold"', 'results = "results"', "[defaults.config]"]
    lines += [f"{name} = {json.dumps(value)}" for name, value in LOOSE.items()]
    lines += [f'[[recording]]\nfile = "{recordings / name}"' for name in ("a", "b", "d")]
    (tmp_path / "list.toml").write_text("\n".join(lines))
    command = [sys.executable, "-m", "spikelab.cli", "batch", str(tmp_path / "list.toml"), "--workers", "1"]
    mark = {"SPIKELAB_CLUSTER_TEST": str(tmp_path)}
    results = [tmp_path / "results" / f"sorted_threshold_{name}" for name in ("a", "b", "d")]
    with (tmp_path / "first.log").open("w") as log:
        client = subprocess.Popen(command, env={**os.environ, **mark}, stdout=log, stderr=log)
    wait_until(lambda: job_state("a", results[0]).stage)
    client.kill()
    client.wait()

    def left() -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("SPIKELAB_CLUSTER_TEST") == str(tmp_path):
                    found.append(process)
            except psutil.Error:
                continue
        return found

    wait_until(lambda: not left())
    done = subprocess.run(command, env={**os.environ, **mark}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "3 done" in done.stdout
    assert [contents(folder) for folder in results] == [expected[name] for name in ("a", "b", "d")]
    assert not list((tmp_path / "results").rglob(".spikelab.lock*"))
    assert not left()

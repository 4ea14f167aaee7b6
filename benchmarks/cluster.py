"""Batches on workers: what a job costs beside its sort, whether that stays so for thousands, what two workers save.

Writes ``results/cluster.md``::

    python -m benchmarks.cluster
"""

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from benchmarks.recordings import Size, make_recording
from benchmarks.reporting import RESULTS, machine, markdown, write
from spikelab.spike_sorting.config import preset_for
from spikelab.spike_sorting.run.jobs import Job

if TYPE_CHECKING:
    from spikelab.spike_sorting.batch.on_cluster import Batch

PARTS = ("overhead", "many", "two")
TINY = Size(16, 2, 3)
WELL = Size(64, 180, 25)  # long enough for the start of the workers, some seconds, to matter little
N_WELLS = 12
WARM = 20  # jobs until everything is imported and compiled
SETTINGS: dict[str, Any] = {
    "n_jobs": 1, "total_memory": "1G", "spikes_min_first": 5, "spikes_min_second": 5, "create_figures": False,
}  # fmt: skip


@dataclass(frozen=True)
class Sample:
    """How far a batch is, and what it has used until then.

    Attributes
    ----------
    done : int
        Jobs that have ended.
    wall, client_cpu, workers_cpu : float
        Seconds.
    client_mib : float
        Of the process that is client and scheduler.
    worker_mib : float
        Of the largest of its workers.
    """

    done: int
    wall: float
    client_cpu: float
    workers_cpu: float
    client_mib: float
    worker_mib: float = 0.0


@dataclass
class Watch:
    """Takes samples of a batch as it goes."""

    prepare: Callable[[Batch], None] | None = None
    samples: list[Sample] = field(default_factory=list)

    def __call__(self, batch: Batch) -> None:
        """Look at `batch`, which calls this about once a second."""
        if self.prepare is not None and not self.samples:
            self.prepare(batch)
        self.samples.append(sample(sum(outcome.attempted for outcome in batch.outcomes)))

    def between(self, first: int, last: int | None = None) -> tuple[Sample, Sample]:
        """The samples nearest to these numbers of jobs."""
        start = next(one for one in self.samples if one.done >= first)
        return start, self.samples[-1] if last is None else next(one for one in self.samples if one.done >= last)


def sample(done: int) -> Sample:
    """What this process and its children use now."""
    this = psutil.Process()
    own, workers, largest = this.cpu_times(), 0.0, 0
    for child in this.children(recursive=True):
        times = child.cpu_times()
        workers += times.user + times.system
        largest = max(largest, child.memory_info().rss)
    memory = this.memory_info().rss / 2**20
    return Sample(done, time.monotonic(), own.user + own.system, workers, memory, largest / 2**20)


def jobs_of(recordings: Sequence[Path], folder: Path, sorter: str = "threshold") -> list[Job]:
    """A job for each recording, which may come several times."""
    config = preset_for(sorter).override(**SETTINGS)
    return [
        Job(path, f"rec{i:05d}", config, folder / f"rec{i:05d}", folder / "intermediate" / f"rec{i:05d}")
        for i, path in enumerate(recordings)
    ]


def in_one_process(recording: Path, folder: Path, n_jobs: int) -> tuple[float, float]:
    """CPU and wall seconds for each job, as a loop over them takes."""
    from spikelab.spike_sorting.run.sort_one import sort_one

    for number, job in enumerate(jobs_of([recording] * (WARM + n_jobs), folder)):
        if number == WARM:
            start = sample(0)
        sort_one(job)
    end = sample(n_jobs)
    return (end.client_cpu - start.client_cpu) / n_jobs, (end.wall - start.wall) / n_jobs


def on_a_worker(recording: Path, folder: Path, n_jobs: int) -> list[Sample]:
    """The same through one worker: samples when it is warm, and in the end."""
    from spikelab.spike_sorting.batch.on_cluster import run_many

    watch = Watch()
    outcomes = run_many(jobs_of([recording] * (WARM + n_jobs), folder), workers=1, watch=watch)
    assert all(outcome.done is not None for outcome in outcomes)
    return list(watch.between(WARM))


def instant_jobs(recording: Path, folder: Path, n_jobs: int) -> list[Sample]:
    """Jobs that take no time, on two workers: what the client and its scheduler do for them is left."""
    from spikelab.spike_sorting.batch.on_cluster import run_many
    from spikelab.spike_sorting.run.sort_one import sort_one

    example = jobs_of([recording], folder / "example")[0]
    sorted_once = replace(sort_one(example), results=None, figure_data=None)

    def prepare(batch: Batch) -> None:
        batch.cluster.client.run(sort_instantly, sorted_once)

    watch = Watch(prepare)
    outcomes = run_many(jobs_of([recording] * n_jobs, folder / "many"), workers=2, watch=watch)
    assert all(outcome.done is not None for outcome in outcomes)
    return watch.samples


def sort_instantly(sorted_once: Any) -> None:
    """In a worker: every job gives this."""
    from spikelab.spike_sorting.batch import worker as _worker

    _worker.sort_one = lambda job, limits: replace(sorted_once)  # noqa: ARG005 - as that which it replaces


def plate(recordings: Sequence[Path], folder: Path, workers: int) -> tuple[float, float]:
    """Wall seconds of a plate on so many workers: all of it, and without the start of the workers."""
    from spikelab.spike_sorting.batch.on_cluster import run_many

    watch, start = Watch(), time.monotonic()
    outcomes = run_many(jobs_of(recordings, folder), workers=workers, watch=watch)
    assert all(outcome.done is not None for outcome in outcomes)
    end = time.monotonic()
    return end - start, end - watch.samples[0].wall


def apart(task: Callable[..., Any], *arguments: Any) -> Any:
    """Run in a process of its own, which starts with nothing in its memory."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(task, *arguments).result()


def report_overhead(scratch: Path, n_jobs: int) -> list[str]:
    """What a job costs around the sorter, in one process and through a worker."""
    recording = make_recording(scratch, TINY)
    cpu, wall = apart(in_one_process, recording, scratch / "one", n_jobs)
    first, last = apart(on_a_worker, recording, scratch / "worker", n_jobs)
    n = last.done - first.done
    client, worker = (last.client_cpu - first.client_cpu) / n, (last.workers_cpu - first.workers_cpu) / n
    through = (last.wall - first.wall) / n
    rows = [
        ["in one process", f"{cpu:.3f}", "", f"{cpu:.3f}", f"{wall:.3f}"],
        ["through one worker", f"{worker:.3f}", f"{client:.3f}", f"{worker + client:.3f}", f"{through:.3f}"],
        ["added", f"{worker - cpu:.3f}", f"{client:.3f}", f"{worker + client - cpu:.3f}", f"{through - wall:.3f}"],
    ]
    about = (
        f"{n_jobs} recordings of {TINY}, with the threshold sorter, which runs in the process of the pipeline and "
        f"takes a few milliseconds; after {WARM} others. Everything of a job is in it: checks, filter, stages, files, "
        "report."
    )
    header = ["seconds per job", "sorting process, CPU", "client and scheduler, CPU", "all CPU", "wall"]
    return ["## Overhead of a job", about, markdown(header, rows)]


def seconds_to_plan(folder: Path, n_jobs: int) -> float:
    """CPU seconds to check a list of so many entries."""
    from spikelab.spike_sorting.batch.manifest import read_manifest

    lines = ["[defaults]", 'sorter = "threshold"', 'results = "results"']
    for number in range(n_jobs):
        (folder / f"rec{number:05d}.raw.h5").touch()
        lines += ["[[recording]]", f'file = "rec{number:05d}.raw.h5"']
    (folder / "list.toml").write_text("\n".join(lines), encoding="utf-8")
    start = time.process_time()
    assert len(read_manifest(folder / "list.toml")) == n_jobs
    return time.process_time() - start


def report_many(scratch: Path, n_jobs: int) -> list[str]:
    """Cost and memory as a long list goes through."""
    recording = make_recording(scratch, TINY)
    (scratch / "listed").mkdir()
    plan = apart(seconds_to_plan, scratch / "listed", n_jobs)
    samples = apart(instant_jobs, recording, scratch / "many", n_jobs)
    watch = Watch(samples=samples)
    rows = []
    seen = samples[-1].done  # the last look is a moment before the end
    for part in range(10):
        first, last = watch.between(part * seen // 10, (part + 1) * seen // 10)
        n = max(last.done - first.done, 1)
        rows.append(
            [
                f"{first.done} to {last.done}", f"{1000 * (last.wall - first.wall) / n:.1f}",
                f"{1000 * (last.client_cpu - first.client_cpu) / n:.1f}",
                f"{1000 * (last.workers_cpu - first.workers_cpu) / n:.1f}", f"{last.client_mib:.0f}",
                f"{last.worker_mib:.0f}",
            ]
        )  # fmt: skip
    page = next((scratch / "many" / "many").glob("*overview/index.html")).stat().st_size / 2**20
    about = (
        f"{n_jobs} jobs on 2 workers of this machine, whose sort returns at once: what is left is what client and "
        f"scheduler, which are one process here, do for each. It starts with {samples[0].client_mib:.0f} MiB. The page "
        f"of the batch has {page:.0f} MiB in the end, and is written again and again meanwhile. "
        f"To check a list of so many entries takes {plan:.1f} CPU seconds."
    )
    header = [
        "jobs", "wall, ms per job", "client and scheduler, CPU ms", "workers, CPU ms", "client and scheduler, MiB",
        "largest worker, MiB",
    ]  # fmt: skip
    return ["## A long list", about, markdown(header, rows)]


def report_two(scratch: Path, repeats: int) -> list[str]:
    """Wall time of a plate with two workers beside that with one."""
    recordings = []
    for seed in range(N_WELLS):
        folder = scratch / f"well{seed}"
        folder.mkdir()
        recordings.append(make_recording(folder, WELL, seed))
    rows = []
    for number in range(repeats):
        times = {}
        for workers in (1, 2):
            folder = scratch / f"plate_{number}_{workers}"
            times[workers] = apart(plate, recordings, folder, workers)
            shutil.rmtree(folder)
        (one, one_running), (two, two_running) = times[1], times[2]
        rows.append([f"{one:.1f}", f"{two:.1f}", f"{two / one:.2f}", f"{two_running / one_running:.2f}"])
    about = (
        f"A plate of {N_WELLS} wells, {WELL}, threshold sorter, one thread for each worker. Wall seconds of the whole "
        "call, with the start of the workers; the last column is without it. Needs two idle cores."
    )
    header = ["1 worker, s", "2 workers, s", "2 / 1", "2 / 1, once started"]
    return ["## Two workers", about, markdown(header, rows)]


def main() -> None:
    """Measure, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", default=",".join(PARTS), help="what to measure (default: %(default)s)")
    parser.add_argument("--overhead-jobs", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--jobs", type=int, default=10_000, help="of the long list (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=2, help="of the plate (default: %(default)s)")
    parser.add_argument("--scratch", type=Path, help="folder for recordings and results, which go in the end")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the report")
    args = parser.parse_args()
    parts = args.parts.split(",")
    if unknown := sorted(set(parts) - set(PARTS)):
        parser.error(f"--parts: there is no {', '.join(unknown)}; there are {', '.join(PARTS)}")
    lines = ["# Batches on workers", f"{machine()}; dask.distributed with its scheduler in the client."]
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        for part in parts:
            scratch = Path(folder) / part
            scratch.mkdir()
            if part == "overhead":
                lines += report_overhead(scratch, args.overhead_jobs)
            elif part == "many":
                lines += report_many(scratch, args.jobs)
            else:
                lines += report_two(scratch, args.repeats)
    write(args.out / "cluster.md", lines)


if __name__ == "__main__":
    main()

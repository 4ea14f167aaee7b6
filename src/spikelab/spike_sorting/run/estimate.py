"""Estimate beforehand what a sort takes: time, memory and disk, from costs that were measured.

``python -m benchmarks.costs`` measures the costs and writes ``costs.json``. Times are scaled by the speed of this
machine at the moment, which takes a tenth of a second to measure.
"""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.run.faults import is_sorted, scratch_bytes
from spikelab.spike_sorting.stages.checks import RESULTS_BYTES
from spikelab.system.resources import available_cores
from spikelab.system.texts import duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from spikelab.spike_sorting.run.faults import Seen
    from spikelab.spike_sorting.run.jobs import Job
    from spikelab.spike_sorting.settings.schema import RecordingConfig

COSTS = Path(__file__).with_name("costs.json")
USUAL_CHANNELS = 64  # whose cost per value is that of the table
MILLION, MIB = 1e6, 2**20


@dataclass(frozen=True)
class Estimate:
    """What a sort takes.

    Attributes
    ----------
    seconds, one_core_s : float or None
        On this machine, with the workers of the settings and with one; None for a sorter whose cost was not measured,
        or a recording whose size is not known.
    memory_bytes : int or None
        Peak of the process; None likewise.
    disk_bytes : int
        While the sort runs; the results that stay are small.
    sorter : str
    """

    seconds: float | None
    one_core_s: float | None
    memory_bytes: int | None
    disk_bytes: int
    sorter: str

    def words(self) -> str:
        """Write the estimate in a sentence.

        Examples
        --------
        >>> from spikelab.spike_sorting.run.estimate import Estimate
        >>> Estimate(98.0, 150.0, 629145600, 400_000_000, "rt_sort").words()
        'about 1 min 40 s, 0.6 GiB of memory and 0.4 GB of disk meanwhile'
        >>> Estimate(None, None, None, 400_000_000, "kilosort4").words()
        'how long kilosort4 takes is not known, nor its memory; 0.4 GB of disk meanwhile'
        """
        disk = f"{self.disk_bytes / 1e9:.2g} GB of disk meanwhile"
        if self.seconds is None or self.memory_bytes is None:
            return f"how long {self.sorter} takes is not known, nor its memory; {disk}"
        return f"about {rounded(self.seconds)}, {self.memory_bytes / 2**30:.2g} GiB of memory and {disk}"


def rounded(seconds: float) -> str:
    """Write a duration as exactly as an estimate can be: in tens of seconds, and minutes from ten minutes on."""
    step = 1 if seconds < 20 else 10 if seconds < 600 else 60
    text = duration(max(1, step * round(seconds / step)))
    return text.removesuffix(" 00 s")


def estimate(job: Job, seen: Seen | None) -> Estimate:
    """Estimate what a sort takes, as far as the size of the recording and the cost of the sorter are known."""
    config = job.config
    sorter = config.sorter.sorter_name
    disk = scratch_bytes(job, seen) + RESULTS_BYTES
    size = _size(seen)
    cost = costs()["sorters"].get(sorter)
    if cost is None or size is None:
        return Estimate(None, None, None, disk, sorter)
    n_channels, rate, seconds = size
    workers = max(1, min(config.execution.n_jobs, available_cores()))
    core_s = core_seconds(cost, n_channels, rate, seconds) * machine_factor()
    wall = core_s * (1 - cost["parallel"] + cost["parallel"] / workers)
    start = float(costs()["start_s"])
    return Estimate(start + wall, start + core_s, memory_of(cost, n_channels), disk, sorter)


def core_seconds(cost: dict[str, float], n_channels: int, rate: float, seconds: float) -> float:
    """Compute the seconds of one core of the machine that the costs were measured on.

    Every value of the recording costs something; those of the first ``learnt_s`` seconds, or as many elsewhere, cost
    more, for the sorter learns from them.
    """
    per_second = n_channels * rate / MILLION * (n_channels / USUAL_CHANNELS) ** cost["channels_power"]
    return float(per_second * (cost["per_value"] * seconds + cost["per_learnt"] * min(seconds, cost["learnt_s"])))


def memory_of(cost: dict[str, float], n_channels: int) -> int:
    """Compute the peak memory of the process, in bytes."""
    return int((cost["memory_mib"] + cost["memory_mib_per_channel"] * n_channels) * MIB)


@lru_cache(maxsize=1)
def costs() -> dict[str, Any]:
    """Read the costs that were measured."""
    read: dict[str, Any] = json.loads(COSTS.read_text(encoding="utf-8"))
    return read


@lru_cache(maxsize=1)
def machine_factor() -> float:
    """Measure how much longer this machine takes than the one that the costs were measured on, as busy as it is."""
    return statistics.median(reference_work() for _ in range(7)) / float(costs()["reference_s"])


def reference_work() -> float:
    """Do a fixed amount of arithmetic on arrays, on one core; return the seconds that it took."""
    traces = np.linspace(-1, 1, 96 * 20_000, dtype=np.float32).reshape(96, 20_000)
    start = time.perf_counter()
    scaled = traces * np.float32(0.5)
    np.maximum(scaled, traces, out=scaled)
    np.cumsum(scaled, axis=1, out=scaled)
    return time.perf_counter() - start


def estimates(jobs: Sequence[Job], seen: Sequence[Seen | None]) -> list[Estimate | None]:
    """Estimate what each sort takes; None for what is sorted already, and where nobody looked into the recording."""
    return [
        None if look is None or is_sorted(job.results) else estimate(job, look)
        for job, look in zip(jobs, seen, strict=True)
    ]


def estimate_lines(found: Iterable[Estimate | None], at_once: int = 1) -> list[str]:
    """Write what sorts take together, so many at a time: a line for each sorter."""
    by_sorter: dict[str, list[Estimate]] = {}
    for one in found:
        if one is not None:
            by_sorter.setdefault(one.sorter, []).append(one)
    return [_line(of_sorter, at_once) for of_sorter in by_sorter.values()]


def _line(found: list[Estimate], at_once: int) -> str:
    if len(found) == 1:
        return f"a sort takes {found[0].words()}" if found[0].seconds is not None else found[0].words()
    at_once = max(1, min(at_once, len(found)))
    together = _together(found, at_once)
    how = f"{at_once} at a time" if at_once > 1 else "one after the other"
    what = f"{len(found)} sorts with {together.sorter}, {how}"
    return f"{what}, take {together.words()}" if together.seconds is not None else f"{what}: {together.words()}"


def _together(found: list[Estimate], at_once: int) -> Estimate:
    """Add up sorts of one sorter; those that go on at once share the cores."""
    times = [one.seconds if at_once == 1 else one.one_core_s for one in found]
    known = [seconds for seconds in times if seconds is not None]
    seconds = sum(known) / at_once if len(known) == len(times) else None
    memory = at_once * max((one.memory_bytes or 0 for one in found), default=0)
    disk = sum(sorted((one.disk_bytes for one in found), reverse=True)[:at_once])
    return Estimate(seconds, seconds, memory or None, disk, found[0].sorter)


def _size(seen: Seen | None) -> tuple[int, float, float] | None:
    """Return channels, rate (Hz) and seconds that will be sorted; None where they are not known."""
    if seen is None or seen.rate is None or seen.duration_s is None:
        return None
    channels = [info.n_channels for info in seen.infos if info.n_channels]
    if not channels:
        return None
    return max(channels), seen.rate, _kept_s(seen.duration_s, seen.rate, seen.config.recording)


def _kept_s(seconds: float, rate: float, settings: RecordingConfig) -> float:
    """Compute how much of a recording is kept, in seconds."""
    if settings.first_n_mins is not None:
        seconds = min(seconds, 60 * settings.first_n_mins)
    if settings.rec_chunks:
        return min(seconds, sum(end - start for start, end in settings.rec_chunks) / rate)
    if settings.rec_chunks_s:
        return min(seconds, sum(end - start for start, end in settings.rec_chunks_s))
    start, end = settings.start_time_s or 0.0, settings.end_time_s
    return max(0.0, (seconds if end is None else min(seconds, end)) - start)

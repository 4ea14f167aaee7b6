"""Write the filtered binary that serves the sorter and the waveforms.

The traces pass through memory once, in chunks whose length depends on the recording alone, so that the file is the same
for any number of workers and any memory. Workers are threads: reading and filtering release the interpreter's lock.
"""

from __future__ import annotations

import errno
import logging
import shutil
import threading
from collections import deque
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spikelab.spike_sorting._exceptions import DiskExhaustionError
from spikelab.spike_sorting.data import BinaryRecording, IntArray, dead_time_of, epochs_of, pulses_of
from spikelab.spike_sorting.recording.geometry import geometry_of
from spikelab.spike_sorting.recording.motion import motion_of
from spikelab.spike_sorting.recording.parts import FrameRange, read_parts
from spikelab.spike_sorting.recording.read_errors import NAMES_IN_MESSAGE
from spikelab.spike_sorting.recording.signal_checks import (
    BoolArray,
    RecordingReport,
    SignalCheck,
    check_signal,
    evaluate,
    refuse_non_finite,
)
from spikelab.system import files
from spikelab.system.memory import parse_memory
from spikelab.system.progress import Progress
from spikelab.system.runlog import warn
from spikelab.system.threads import ThreadPool

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from concurrent.futures import Future

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

logger = logging.getLogger(__name__)

CHUNK_SAMPLES = 10_000_000
MIN_CHUNK_S, MAX_CHUNK_S = 0.25, 2.0
# Peak of one worker where traces are re-referenced: the chunk as read and as counts, and three copies in float32.
# Without a reference the filter holds a few channels in float32 at a time.
WORKER_BYTES_PER_SAMPLE = 16
INT16_MAX = 32767
# Range of the counts over the largest sampled value, as values between the samples may be larger.
HEADROOM = 2.0
SMALLEST_LSB_UV, FINE_LSB_UV = 0.1, 2.0
DISK_FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", None))

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Totals:
    n_clipped: int
    max_abs_uv: float
    silent: BoolArray


def write_binary(
    recording: BaseRecording, path: str | Path, *, n_jobs: int, total_memory: str | int, seed: int, check: bool = True
) -> tuple[BinaryRecording, RecordingReport]:
    """Write `recording` as int16 counts, frame by frame.

    Parameters
    ----------
    recording : BaseRecording
        Filtered microvolts in one segment, from :func:`.open_recording`.
    path : str or Path
        The ``.dat`` file; it appears when it is complete.
    n_jobs : int
        Worker threads, at most.
    total_memory : str or int
        Memory of all threads together, such as ``"16G"``; with little memory fewer threads work.
    seed : int
        Picks the blocks that are checked before writing.
    check : bool
        Whether to check the signal: flat, saturated, wrong unit, too short.

    Raises
    ------
    ValueError
        If there are no samples, or NaN or infinite ones.
    SaturatedSignalError
        If all channels are flat or on a rail.
    DiskExhaustionError
        If there is no room for the file.
    """
    target = Path(path)
    n_frames, n_channels = int(recording.get_num_samples()), int(recording.get_num_channels())
    if n_frames == 0:
        raise ValueError("the recording has no samples")
    target.parent.mkdir(parents=True, exist_ok=True)
    size = n_frames * n_channels * 2
    if shutil.disk_usage(target.parent).free < size:
        raise _disk_full(target, size)
    chunks = chunk_ranges(n_frames, n_channels, recording.get_sampling_frequency())
    try:
        with files.replacing(target) as temporary:
            with _Threads(_workers(recording, chunks, n_jobs, total_memory)) as threads:
                signal = check_signal(recording, seed, threads.in_order)
                lsb = choose_lsb(signal.max_abs_uv, _typical_noise(signal))
                totals = _write(recording, temporary, chunks, lsb, threads)
            report = _report(recording, signal, totals, lsb, check=check)
    except OSError as error:
        if error.errno in DISK_FULL:
            raise _disk_full(target, size) from error
        raise
    return _describe(recording, target, lsb, totals.n_clipped), report


def chunk_ranges(n_frames: int, n_channels: int, sampling_frequency: float) -> list[FrameRange]:
    """Divide the recording into half-open frame ranges of a quarter of a second to two seconds."""
    length = _chunk_frames(n_frames, n_channels, sampling_frequency)
    return [(start, min(start + length, n_frames)) for start in range(0, n_frames, length)]


def least_bytes(n_frames: int, n_channels: int, sampling_frequency: float) -> int:
    """Return the bytes that writing a recording takes with one worker."""
    return _chunk_frames(n_frames, n_channels, sampling_frequency) * n_channels * WORKER_BYTES_PER_SAMPLE


def _chunk_frames(n_frames: int, n_channels: int, sampling_frequency: float) -> int:
    wanted = CHUNK_SAMPLES // n_channels
    length = int(min(max(wanted, MIN_CHUNK_S * sampling_frequency), MAX_CHUNK_S * sampling_frequency))
    return max(1, min(n_frames, length))


def choose_lsb(max_abs_uv: float, noise_uv: float = np.inf) -> float:
    """Choose microvolts per count: the smallest of 0.1, 0.2, 0.5, 1, 2, 5, ... that holds twice `max_abs_uv`.

    No value above both 2 uV and `noise_uv`, the noise of the median channel, is chosen: no neuron reaches the 65 mV
    that 2 uV per count can hold, and an artefact or a broken channel must not cost other channels their resolution.
    """
    needed = HEADROOM * max_abs_uv / INT16_MAX if np.isfinite(max_abs_uv) else 0.0
    lsb, decade = SMALLEST_LSB_UV, 0
    while lsb < needed:
        decade += 1
        larger = float(f"{(1, 2, 5)[decade % 3]}e{decade // 3 - 1}")
        if larger > max(FINE_LSB_UV, noise_uv):
            break
        lsb = larger
    return lsb


def _workers(recording: BaseRecording, chunks: Sequence[FrameRange], n_jobs: int, total_memory: str | int) -> int:
    samples = (chunks[0][1] - chunks[0][0]) * recording.get_num_channels()
    affordable = parse_memory(total_memory) // (samples * WORKER_BYTES_PER_SAMPLE)
    workers = max(1, min(n_jobs, affordable, len(chunks)))
    if workers < min(n_jobs, len(chunks)):
        logger.info("writing the binary with %d of %d workers: total_memory allows no more", workers, n_jobs)
    return int(workers)


def _typical_noise(signal: SignalCheck) -> float:
    """Return the noise of the median channel among those that change."""
    alive = signal.noise_uv[~signal.constant & np.isfinite(signal.noise_uv)]
    return float(np.median(alive)) if len(alive) else np.inf


class _Threads(ThreadPool):
    """Threads that compute a bounded number of results ahead of their use."""

    def __init__(self, n_workers: int) -> None:
        super().__init__(n_workers)
        self._ahead = n_workers + 1

    def in_order(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """Yield results in the order of `items`, computing at most the workers and one ahead."""
        waiting: deque[Future[Result]] = deque()
        pending = iter(items)
        try:
            waiting.extend(self.submit(work, item) for item in islice(pending, self._ahead))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(self.submit(work, item) for item in islice(pending, 1))
                yield result
        finally:
            for future in waiting:
                future.cancel()


def _write(
    recording: BaseRecording, path: Path, chunks: Sequence[FrameRange], lsb: float, threads: _Threads
) -> _Totals:
    n_clipped, max_abs = 0, 0.0
    silent = np.ones(recording.get_num_channels(), dtype=bool)
    path.write_bytes(b"")
    own = threading.local()  # each thread reuses one array of counts

    def write_chunk(chunk: FrameRange) -> _Totals:
        """Convert a chunk and write its counts at their offset; writing takes about a tenth of the time."""
        if not hasattr(own, "counts"):
            own.counts = np.empty((chunks[0][1] - chunks[0][0], recording.get_num_channels()), dtype=np.int16)
        counts = own.counts[: chunk[1] - chunk[0]]
        totals = _convert(recording, chunk, lsb, counts)
        with path.open("r+b") as file:
            file.seek(chunk[0] * counts.shape[1] * counts.itemsize)
            file.write(counts.data)
        return totals

    with Progress("writing the binary recording", len(chunks)) as progress:
        for chunk in threads.in_order(write_chunk, chunks):
            n_clipped += chunk.n_clipped
            max_abs = max(max_abs, chunk.max_abs_uv)
            silent &= chunk.silent
            progress.update()
    return _Totals(n_clipped, max_abs, silent)


def _convert(recording: BaseRecording, chunk: FrameRange, lsb: float, counts: NDArray[np.int16]) -> _Totals:
    """Turn one chunk into counts: rounded, not truncated, and clipped."""
    from spikelab.spike_sorting.filters._bandpass_kernels import to_counts

    scale = np.float32(1 / lsb)
    bits = np.zeros(counts.shape[1], dtype=np.int32)
    largest, n_clipped = bits.view(np.float32), 0
    for frames, channels, part in read_parts(recording, *chunk):
        traces = np.ascontiguousarray(part, dtype=np.float32)
        to_counts(traces, traces.view(np.int32), scale, counts[frames], channels.start, bits[channels])
        n_clipped += _count_clipped(traces, scale, largest[channels])
    if not np.isfinite(largest).all():
        refuse_non_finite(recording, *chunk)
    return _Totals(n_clipped, float(largest.max()), np.rint(largest * scale) == 0)


def _count_clipped(traces: NDArray[np.float32], scale: np.float32, largest: NDArray[np.float32]) -> int:
    """Count the samples beyond int16; only channels whose `largest` sample is beyond are searched."""
    with np.errstate(invalid="ignore", over="ignore"):
        suspect = np.flatnonzero(np.rint(largest * scale) > INT16_MAX)
        counts = np.rint(traces[:, suspect] * scale)
    return int(np.count_nonzero((counts > INT16_MAX) | (counts < -INT16_MAX - 1)))


def _report(
    recording: BaseRecording, signal: SignalCheck, totals: _Totals, lsb: float, *, check: bool
) -> RecordingReport:
    flat, saturated, messages = evaluate(recording, signal, totals.silent, totals.n_clipped) if check else ((), (), [])
    rounded = totals.silent & ~signal.constant
    if check and lsb > SMALLEST_LSB_UV and rounded.any():
        names = ", ".join(str(channel) for channel in recording.channel_ids[rounded][:NAMES_IN_MESSAGE])
        messages.append(
            f"{int(rounded.sum())} channels ({names}) never exceed half of {lsb:g} uV, the step that the largest "
            f"value, {signal.max_abs_uv:.3g} uV, asks for, and are zero in what is sorted: leave the loud channels "
            "out with bad_channels"
        )
    for message in messages:
        warn(message)
    return RecordingReport(
        lsb_uv=lsb,
        n_clipped=totals.n_clipped,
        max_abs_uv=totals.max_abs_uv,
        noise_uv=tuple(float(value) for value in signal.noise_uv),
        flat_channels=flat,
        saturated_channels=saturated,
        warnings=tuple(messages),
    )


def _describe(recording: BaseRecording, path: Path, lsb: float, n_clipped: int) -> BinaryRecording:
    return BinaryRecording(
        path=path,
        n_samples=int(recording.get_num_samples()),
        n_channels=int(recording.get_num_channels()),
        sampling_frequency=float(recording.get_sampling_frequency()),
        gain_uv=lsb,
        channel_ids=tuple(str(channel) for channel in recording.channel_ids),
        locations=np.asarray(recording.get_channel_locations(), dtype=np.float64)[:, :2],
        electrodes=_electrodes(recording.get_property("electrode")),
        epochs=epochs_of(recording),
        source_file=recording.get_annotation("spikelab_source_file") or "",
        source_format=recording.get_annotation("spikelab_source_format") or "",
        source_files=tuple(recording.get_annotation("spikelab_source_files") or ()),
        n_clipped=n_clipped,
        source_gains_uv=recording.get_property("source_gain_uv"),
        geometry=geometry_of(recording),
        dead_time=dead_time_of(recording),
        pulses=pulses_of(recording),
        motion=motion_of(recording),
    )


def _electrodes(values: Any) -> IntArray | None:
    if values is None or np.asarray(values).dtype.kind not in "iu":
        return None
    return np.asarray(values, dtype=np.int64)


def _disk_full(target: Path, needed: int) -> DiskExhaustionError:
    free = shutil.disk_usage(target.parent).free
    return DiskExhaustionError(
        f"{target} needs {needed / 1e9:.2f} GB, and {target.parent} has {free / 1e9:.2f} GB left: make room, or put "
        "intermediate_folders on a larger disk",
        path=target,
        required_bytes=needed,
        free_bytes=free,
    )

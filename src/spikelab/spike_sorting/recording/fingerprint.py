"""Key of an input: a short text that changes when the recording does, but not when the recording is moved."""

from __future__ import annotations

import hashlib
import json
import math
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.geometry.electrodes import read_electrodes
from spikelab.spike_sorting.recording.parts import evenly_spaced
from spikelab.spike_sorting.recording.sample_times import SAMPLE_SHIFTS
from spikelab.spike_sorting.recording.source import resolve_source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

BLOCK_BYTES, N_BLOCKS, MAX_SAMPLED_FILES = 1 << 16, 16, 64
BLOCK_FRAMES = 256
# Bytes of an array in memory that are read; of a larger one, every n-th frame.
ARRAY_BYTES = 1 << 27
CHUNK_BYTES = 1 << 24
# Blocks of a recording in memory of which neither arrays nor files are known.
N_BLOCKS_UNKNOWN = 1024
DEEPEST = 100
OPEN_FILES = ("file", "storage_options")  # parameters of a reader that are handles, or secrets


def fingerprint(source: Any, leave_out: Sequence[Path] = ()) -> str:
    """Return a short text (32 hexadecimal digits) that changes when the recording does, but not when it is moved.

    Of files: size, modification time and a hash of sampled blocks. In memory: type, shape, rate, channels, times, the
    chain of lazy steps with their parameters, the arrays and files that the chain begins with, and sampled blocks of
    the result. Arrays of at most 128 MiB are read as a whole; of a larger one every n-th frame is, so that a change in
    place that is shorter may be missed. Folders of `leave_out` inside a folder that is a recording are no part of it,
    for example those of results.
    """
    resolved = resolve_source(source)
    recording = resolved.recording
    parts = _describe_files(resolved.files, leave_out) if recording is None else _describe_memory(recording)
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(part)
    return digest.hexdigest()


def _describe_files(paths: Iterable[Path], leave_out: Sequence[Path]) -> Iterator[bytes]:
    for path in paths:
        if path.is_file():
            yield from _describe_file(path, sample=True)
            continue
        inside = sorted(_files_below(path, leave_out))
        step = max(1, len(inside) // MAX_SAMPLED_FILES)
        for i, entry in enumerate(inside):
            yield entry.relative_to(path).as_posix().encode()
            yield from _describe_file(entry, sample=i % step == 0)


def _files_below(folder: Path, leave_out: Sequence[Path]) -> Iterator[Path]:
    root = folder.resolve()
    left_out = [path for path in (Path(entry).resolve() for entry in leave_out) if root in path.parents]
    for entry in folder.rglob("*"):
        below = root / entry.relative_to(folder)
        if entry.is_file() and not any(below.is_relative_to(path) for path in left_out):
            yield entry


def _describe_file(path: Path, *, sample: bool) -> Iterator[bytes]:
    status = path.stat()
    yield f"{status.st_size} {status.st_mtime_ns}".encode()
    if not sample:
        return
    with path.open("rb") as file:
        for offset in evenly_spaced(status.st_size, BLOCK_BYTES, N_BLOCKS):
            file.seek(offset)
            yield file.read(BLOCK_BYTES)


def _describe_memory(recording: BaseRecording) -> Iterator[bytes]:
    frames = [recording.get_num_samples(i) for i in range(recording.get_num_segments())]
    yield json.dumps(_properties(recording, frames)).encode()
    for segment in range(len(frames)):
        if (times := recording.get_time_info(segment)["time_vector"]) is not None:
            yield from _describe_array(np.asarray(times))
    chain = _Chain()
    yield from chain.describe(recording)
    n_blocks = N_BLOCKS if chain.has_data else N_BLOCKS_UNKNOWN
    for segment, n_frames in enumerate(frames):
        for start in evenly_spaced(n_frames, BLOCK_FRAMES, n_blocks):
            end = min(start + BLOCK_FRAMES, n_frames)
            yield np.ascontiguousarray(recording.get_traces(segment, start, end)).tobytes()


def _properties(recording: BaseRecording, frames: Sequence[int]) -> list[Any]:
    """List what a recording says of itself and its channels."""
    scales = (recording.get_channel_gains(), recording.get_channel_offsets())
    shifts = recording.get_property(SAMPLE_SHIFTS)
    return [
        str(recording.get_dtype()),
        recording.get_num_channels(),
        frames,
        recording.get_sampling_frequency(),
        [str(channel) for channel in recording.channel_ids],
        [None if values is None else values.tolist() for values in scales],
        _electrodes(recording),
        [None if start is None else float(start) for start in (segment._t_start for segment in recording.segments)],
        None if shifts is None else np.asarray(shifts).tolist(),
    ]


def _electrodes(recording: BaseRecording) -> list[Any]:
    """List positions, units of length and names of the electrodes, as the geometry is made of them."""
    electrodes, numbers = read_electrodes(recording), recording.get_property("electrode")
    return [
        electrodes.places.tolist(),
        electrodes.labels,
        electrodes.contacts,
        None if numbers is None else np.asarray(numbers).tolist(),
    ]


class _Chain:
    """Description of a value that a lazy recording was made from: recordings, arrays, files and plain values.

    Attributes
    ----------
    has_data : bool
        Whether an array or a file was among them: then a change of the traces changes the description.
    """

    def __init__(self) -> None:
        self.has_data = False

    def describe(self, value: Any, depth: int = 0) -> Iterator[bytes]:
        """Yield bytes that change with `value`."""
        yield type(value).__name__.encode()
        if depth > DEEPEST:
            return
        if isinstance(value, np.ndarray):
            self.has_data = self.has_data or value.ndim > 1
            yield from _describe_array(value)
        elif isinstance(value, str | Path):
            yield from self._describe_text(value)
        elif (inside := _inside(value)) is not None:
            for item in inside:
                yield from self.describe(item, depth + 1)
        elif " at 0x" not in (shown := repr(value)):  # an address is another one in every process
            yield shown.encode()

    def _describe_text(self, value: str | Path) -> Iterator[bytes]:
        path = Path(value)
        try:
            is_there = path.is_absolute() and path.exists()
        except (OSError, ValueError):  # too long for a name, or with a null byte
            is_there = False
        if is_there:
            self.has_data = True
            yield from _describe_files([path], ())
        else:
            yield str(value).encode(errors="surrogateescape")


def _inside(value: Any) -> Iterable[Any] | None:
    """Return what a collection, or an object of SpikeInterface, was made from; None for any other value."""
    parameters = getattr(value, "_kwargs", value)
    if isinstance(parameters, dict):
        named = sorted(parameters.items(), key=lambda item: str(item[0]))
        return [item for name, item in named if name not in OPEN_FILES]
    if isinstance(value, set | frozenset):
        return sorted(value, key=str)
    return value if isinstance(value, list | tuple) else None


def _describe_array(array: NDArray[Any]) -> Iterator[bytes]:
    yield f"{array.dtype} {array.shape}".encode()
    if array.dtype.hasobject:
        yield repr(array).encode()
        return
    frames = np.atleast_1d(array)[:: max(1, math.ceil(array.nbytes / ARRAY_BYTES))]
    rows = max(1, CHUNK_BYTES * len(frames) // max(1, frames.nbytes))
    for start in range(0, len(frames), rows):
        # The fastest checksum of the standard library: a recording in memory may have gigabytes.
        yield str(zlib.crc32(np.ascontiguousarray(frames[start : start + rows]).data)).encode()

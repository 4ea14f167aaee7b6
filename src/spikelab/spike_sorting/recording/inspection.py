"""List the contents of a file without sorting it, for ``spikelab inspect`` and for the choice of streams."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.recording.formats import HEADERLESS, MAXWELL, Format
from spikelab.spike_sorting.recording.hdf5 import filter_ids, missing_filters, open_hdf5, plugin_error
from spikelab.spike_sorting.recording.maxwell import list_recordings, read_layout
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.readers import FORMATS, read_file, stream_ids, vet
from spikelab.spike_sorting.recording.source import HEADERLESS_FIELDS, resolve_source
from spikelab.system.runlog import captured_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path


# Errors of one unreadable stream; the other streams are still listed.
STREAM_ERRORS = (OSError, ValueError, ImportError, SpikeSortingClassifiedError)


@dataclass(frozen=True)
class StreamInfo:
    """One stream, or well, or recording of a well; sizes are None where they cannot be read."""

    file: Path  # or the folder that is a recording
    format: str
    stream_id: str | None = None  # setting that chooses the stream; for NWB, the ElectricalSeries
    rec_name: str | None = None
    n_channels: int | None = None
    n_samples: int | None = None
    sampling_frequency: float | None = None
    filters: tuple[int, ...] = ()  # HDF5 filters of the traces (MaxWell)
    readable: bool = True  # on this host
    problem: str = ""  # why the stream is not readable; for a headerless file, the settings that are needed

    @property
    def duration_s(self) -> float | None:
        """Length in seconds."""
        if self.n_samples is None or not self.sampling_frequency:
            return None
        return self.n_samples / self.sampling_frequency


def inspect_file(path: str | Path, *, trust_input: bool = False) -> list[StreamInfo]:
    """List the streams, wells and recordings of a file, a folder that is a recording, or a folder of files.

    `trust_input` follows classes, pickles and links of the input, as the setting of that name does. A stream that
    cannot be read has ``readable=False`` and the reason; a path without any recording raises a FileNotFoundError or a
    ValueError.
    """
    source = resolve_source(path)
    known = FORMATS[source.format]
    return [info for file in source.files for info in _inspect(file, known, trust_input)]


def list_streams(path: str | Path, *, trust_input: bool = False) -> list[str] | None:
    """List streams (wells) that can be sorted by name; None where the format has none.

    For a folder of files: the streams that all of them have.
    """
    source = resolve_source(path)
    lists = [stream_ids(file, FORMATS[source.format], trust_input=trust_input) for file in source.files]
    present = [streams for streams in lists if streams is not None]
    if not present:
        return None
    return [stream for stream in present[0] if all(stream in streams for streams in present)]


def _inspect(file: Path, known: Format, trust_input: bool) -> list[StreamInfo]:
    blank = StreamInfo(file, known.name)
    if known is HEADERLESS:
        problem = f"a binary file without a header: set {', '.join(HEADERLESS_FIELDS)} and gain_to_uv"
        return [replace(blank, readable=False, problem=problem)]
    try:
        if known is MAXWELL:
            return _inspect_maxwell(file, blank, trust_input)
        streams: Sequence[str | None] = stream_ids(file, known, trust_input=trust_input) or [None]
        fill = partial(_open_stream, trust_input=trust_input)
        return [_attempt(replace(blank, stream_id=stream), fill) for stream in streams]
    except STREAM_ERRORS as error:
        return [replace(blank, readable=False, problem=str(error))]


def _attempt(info: StreamInfo, fill: Callable[[StreamInfo], StreamInfo]) -> StreamInfo:
    try:
        with captured_warnings(), reading(info.file, f"as {info.format}"):
            return fill(info)
    except STREAM_ERRORS as error:
        return replace(info, readable=False, problem=str(error))


def _inspect_maxwell(path: Path, blank: StreamInfo, trust_input: bool) -> list[StreamInfo]:
    with reading(path, "as maxwell"), open_hdf5(path) as file:
        if not trust_input:
            vet(path, MAXWELL)
        return [
            _attempt(replace(blank, stream_id=well, rec_name=name), lambda info: _maxwell_stream(info, file))
            for well, names in list_recordings(file).items()
            for name in names
        ]


def _maxwell_stream(info: StreamInfo, file: Any) -> StreamInfo:
    layout = read_layout(info.file, file, info.stream_id or "", info.rec_name or "")
    dataset = file[layout.dataset]
    missing = missing_filters(dataset)
    return replace(
        info,
        n_channels=len(layout.channels),
        n_samples=layout.n_frames,
        sampling_frequency=layout.sampling_frequency,
        filters=filter_ids(dataset),
        readable=not missing,
        problem=str(plugin_error(info.file, missing)) if missing else "",
    )


def _open_stream(info: StreamInfo, *, trust_input: bool) -> StreamInfo:
    from spikelab.spike_sorting.settings.schema import RecordingConfig

    recording = read_file(info.file, info.format, RecordingConfig(stream_id=info.stream_id, trust_input=trust_input))
    return replace(
        info,
        n_channels=int(recording.get_num_channels()),
        n_samples=int(sum(recording.get_num_samples(i) for i in range(recording.get_num_segments()))),
        sampling_frequency=float(recording.get_sampling_frequency()),
    )

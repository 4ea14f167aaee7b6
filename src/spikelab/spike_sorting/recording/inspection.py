"""List the contents of a file without sorting it, for ``spikelab inspect`` and for the choice of streams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.recording.formats import HEADERLESS, MAXWELL, Format
from spikelab.spike_sorting.recording.hdf5 import filter_ids, missing_filters, open_hdf5, plugin_error
from spikelab.spike_sorting.recording.maxwell import list_recordings, read_layout
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.readers import FORMATS, read_file, stream_ids, vet
from spikelab.spike_sorting.recording.source import HEADERLESS_FIELDS, resolve_source
from spikelab.spike_sorting.settings.schema import RecordingConfig
from spikelab.system.runlog import captured_warnings, collected_warnings

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.data import Geometry


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
    geometry: Geometry | None = field(default=None, repr=False)  # electrodes and their groups, as a sort takes them
    channel_ids: tuple[str, ...] = field(default=(), repr=False)
    assumed: tuple[str, ...] = ()  # about the electrodes: their unit of length, plane, places, groups, wiring

    @property
    def duration_s(self) -> float | None:
        """Length in seconds."""
        if self.n_samples is None or not self.sampling_frequency:
            return None
        return self.n_samples / self.sampling_frequency


def inspect_file(
    path: str | Path, *, trust_input: bool = False, probe_path: str | Path | None = None
) -> list[StreamInfo]:
    """List the streams, wells and recordings of a file, a folder that is a recording, or a folder of files.

    No traces are read. `trust_input` follows classes, pickles and links of the input, and `probe_path` is the probe
    file of all streams, as the settings of these names. A stream that cannot be read, or whose electrodes are refused,
    has ``readable=False`` and the reason; a path without any recording raises a FileNotFoundError or a
    ValueError.
    """
    source = resolve_source(path)
    known = FORMATS[source.format]
    config = RecordingConfig(trust_input=trust_input, probe_path=probe_path)
    return [info for file in source.files for info in _inspect(file, known, config)]


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


def _inspect(file: Path, known: Format, config: RecordingConfig) -> list[StreamInfo]:
    blank = StreamInfo(file, known.name)
    if known is HEADERLESS:
        problem = f"a binary file without a header: set {', '.join(HEADERLESS_FIELDS)} and gain_to_uv"
        return [replace(blank, readable=False, problem=problem)]
    try:
        if known is MAXWELL:
            return _inspect_maxwell(file, blank, config)
        streams: Sequence[str | None] = stream_ids(file, known, trust_input=config.trust_input) or [None]
        fill = partial(_with_electrodes, config=config)
        return [_attempt(replace(blank, stream_id=stream), fill) for stream in streams]
    except STREAM_ERRORS as error:
        return [replace(blank, readable=False, problem=str(error))]


def _attempt(info: StreamInfo, fill: Callable[[StreamInfo], StreamInfo]) -> StreamInfo:
    try:
        with captured_warnings(), reading(info.file, f"as {info.format}"):
            return fill(info)
    except STREAM_ERRORS as error:
        return replace(info, readable=False, problem=str(error))


def _inspect_maxwell(path: Path, blank: StreamInfo, config: RecordingConfig) -> list[StreamInfo]:
    with reading(path, "as maxwell"), open_hdf5(path) as file:
        if not config.trust_input:
            vet(path, MAXWELL)
        return [
            _attempt(replace(blank, stream_id=well, rec_name=name), partial(_maxwell_stream, file=file, config=config))
            for well, names in list_recordings(file).items()
            for name in names
        ]


def _maxwell_stream(info: StreamInfo, file: Any, config: RecordingConfig) -> StreamInfo:
    layout = read_layout(info.file, file, info.stream_id or "", info.rec_name or "")
    dataset = file[layout.dataset]
    missing = missing_filters(dataset)
    if not missing:
        info = _with_electrodes(info, config)
    return replace(
        info,
        n_channels=len(layout.channels),
        n_samples=layout.n_frames,
        sampling_frequency=layout.sampling_frequency,
        filters=filter_ids(dataset),
        readable=not missing,
        problem=str(plugin_error(info.file, missing)) if missing else "",
    )


def _with_electrodes(info: StreamInfo, config: RecordingConfig) -> StreamInfo:
    """Open a stream for its sizes and the places and groups of its electrodes."""
    from spikelab.spike_sorting.recording.geometry import read_geometry

    chosen = replace(config, stream_id=info.stream_id, rec_name=info.rec_name)
    with collected_warnings() as assumed:
        recording = read_file(info.file, info.format, chosen)
        geometry = read_geometry(recording, info.file.name)
    if recording.has_3d_probe():
        assumed.append(f"{info.file.name} has contacts with three coordinates: the plane that they span is taken")
    return replace(
        info,
        n_channels=int(recording.get_num_channels()),
        n_samples=int(sum(recording.get_num_samples(i) for i in range(recording.get_num_segments()))),
        sampling_frequency=float(recording.get_sampling_frequency()),
        geometry=geometry,
        channel_ids=tuple(map(str, recording.channel_ids)),
        assumed=tuple(assumed),
    )

"""List the contents of a file without sorting it, for ``spikelab inspect`` and for the choice of streams."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.recording.formats import HEADERLESS, MAXWELL, Format
from spikelab.spike_sorting.recording.hdf5 import (
    filter_ids,
    missing_filters,
    open_hdf5,
    plugin_error,
    set_plugin_path,
)
from spikelab.spike_sorting.recording.maxwell import list_recordings, raw_dataset, read_layout
from spikelab.spike_sorting.recording.probes import unattached
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.readers import FORMATS, read_file, streams_of, vet
from spikelab.spike_sorting.recording.sample_times import sampled_in_turn
from spikelab.spike_sorting.recording.source import HEADERLESS_FIELDS, entries_of_folder, resolve_source
from spikelab.spike_sorting.recording.stimulation.events import pulse_events
from spikelab.spike_sorting.settings.keywords import with_fields
from spikelab.spike_sorting.settings.paths import AUTO
from spikelab.spike_sorting.settings.schema import RecordingConfig
from spikelab.system.runlog import captured_warnings, collected_warnings

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import Geometry
    from spikelab.spike_sorting.recording.streams import Stream


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
    error: Exception | None = field(default=None, repr=False, compare=False)  # that opening the stream would end with
    needs_settings: bool = False  # a headerless file, of which too little was set to read it
    no_gain: bool = False  # counts that the file does not say the microvolts of
    geometry: Geometry | None = field(default=None, repr=False)  # electrodes and their groups, as a sort takes them
    channel_ids: tuple[str, ...] = field(default=(), repr=False)
    assumed: tuple[str, ...] = ()  # about the electrodes: their unit of length, plane, places, groups, wiring
    stream_name: str = ""  # beside the id, where the source has one; stream_id takes it too
    in_turn: bool = False  # the file says that channels are sampled one after the other, as those of Neuropixels
    no_events: str = ""  # why stim_times_s="auto" finds nothing in the file, where it is asked for
    electrodes: bool = True  # False for synchronisation, analog and digital inputs, sensors

    @property
    def duration_s(self) -> float | None:
        """Length in seconds."""
        if self.n_samples is None or not self.sampling_frequency:
            return None
        return self.n_samples / self.sampling_frequency


def inspect_file(
    path: str | Path,
    *,
    trust_input: bool = False,
    probe_path: str | Path | None = None,
    config: RecordingConfig | None = None,
) -> list[StreamInfo]:
    """List the streams, wells and recordings of a file, a folder that is a recording, or a folder of files.

    No traces are read. `trust_input` follows classes, pickles and links of the input, and `probe_path` is the probe
    file of all streams, as the settings of these names; `config` stands in the place of both, and says what a
    headerless file holds. A stream, or a file of a folder, that cannot be read, or whose electrodes are refused, has
    ``readable=False`` and the reason; a path without any recording raises a FileNotFoundError or a ValueError.
    """
    config = config or RecordingConfig(trust_input=trust_input, probe_path=probe_path)
    if config.hdf5_plugin_path is not None:
        set_plugin_path(config.hdf5_plugin_path)
    try:
        source = resolve_source(path)
    except STREAM_ERRORS as error:
        return _one_by_one(Path(path), error, config)
    return [info for file in source.files for info in _inspect(file, FORMATS[source.format], config)]


def _one_by_one(folder: Path, error: Exception, config: RecordingConfig) -> list[StreamInfo]:
    """Inspect the recordings of a folder that is refused as a whole each by itself; `error` where it has none."""
    if not folder.is_dir():
        raise error
    infos: list[StreamInfo] = []
    for entry, found in entries_of_folder(folder):
        if isinstance(found, Format):
            infos += _inspect(entry, found, config)
        else:
            infos.append(_unreadable(StreamInfo(entry, "unknown"), found))
    if not infos:
        raise error
    if all(info.readable for info in infos):  # it is the folder that is at fault, such as one of several formats
        infos.append(_unreadable(StreamInfo(folder, "folder"), error))
    return infos


def list_streams(path: str | Path, *, trust_input: bool = False) -> list[str] | None:
    """List the ids of the streams (wells) that hold electrodes; None where the format has no streams.

    For a folder of files: the streams that all of them have.
    """
    streams = find_streams(path, trust_input=trust_input)
    return None if streams is None else [stream.id for stream in streams if stream.electrodes]


def find_streams(path: str | Path, *, trust_input: bool = False) -> list[Stream] | None:
    """List the streams that all files at `path` have, those without electrodes too; None where there are none."""
    source = resolve_source(path)
    lists = [streams_of(file, FORMATS[source.format], trust_input=trust_input) for file in source.files]
    present = [streams for streams in lists if streams is not None]
    if not present:
        return None
    common = set.intersection(*({stream.id for stream in streams} for streams in present))
    return [stream for stream in present[0] if stream.id in common]


def _inspect(file: Path, known: Format, config: RecordingConfig) -> list[StreamInfo]:
    blank = StreamInfo(file, known.name)
    if known is HEADERLESS and any(getattr(config, name) is None for name in HEADERLESS_FIELDS):
        problem = f"a binary file without a header: set {', '.join(HEADERLESS_FIELDS)} and gain_to_uv"
        return [replace(blank, readable=False, problem=problem, needs_settings=True)]
    try:
        if known is MAXWELL:
            return _inspect_maxwell(file, blank, config)
        fill = partial(_with_electrodes, config=config)
        streams = streams_of(file, known, trust_input=config.trust_input)
        blanks = [blank] if not streams else [_of_stream(blank, stream) for stream in streams]
        return [_attempt(info, fill) for info in blanks]
    except STREAM_ERRORS as error:
        return [_unreadable(blank, error)]


def _of_stream(blank: StreamInfo, stream: Stream) -> StreamInfo:
    return replace(blank, stream_id=stream.id, stream_name=stream.name, electrodes=stream.electrodes)


def _attempt(info: StreamInfo, fill: Callable[[StreamInfo], StreamInfo]) -> StreamInfo:
    try:
        with captured_warnings(), reading(info.file, f"as {info.format}"):
            return fill(info)
    except STREAM_ERRORS as error:
        return _unreadable(info, error)


def _unreadable(info: StreamInfo, error: Exception) -> StreamInfo:
    return replace(info, readable=False, problem=str(error), error=error)


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
    dataset = raw_dataset(file, info.stream_id or "", info.rec_name or "")
    missing = () if dataset is None else missing_filters(dataset)
    if not missing:
        info = _with_electrodes(info, config)
        return info if dataset is None else replace(info, filters=filter_ids(dataset))
    layout = read_layout(info.file, file, info.stream_id or "", info.rec_name or "")
    return replace(
        _unreadable(info, plugin_error(info.file, missing)),
        n_channels=len(layout.channels),
        n_samples=layout.n_frames,
        sampling_frequency=layout.sampling_frequency,
        filters=filter_ids(dataset),
    )


def _with_electrodes(info: StreamInfo, config: RecordingConfig) -> StreamInfo:
    """Open a stream for its sizes and the places and groups of its electrodes."""
    from spikelab.spike_sorting.recording.geometry import read_geometry

    chosen = with_fields(config, stream_id=info.stream_id, rec_name=info.rec_name, electrical_series_path=None)
    if not info.electrodes:
        with captured_warnings():
            return _measured(info, read_file(info.file, info.format, with_fields(chosen, probe_path=None)))
    with collected_warnings() as assumed:
        recording = read_file(info.file, info.format, chosen)
        geometry = read_geometry(recording, info.file.name, config.electrode_groups)
    if recording.has_3d_probe():
        assumed.append(f"{info.file.name} has contacts with three coordinates: the plane that they span is taken")
    channel_ids = tuple(map(str, recording.channel_ids))
    info = replace(_measured(info, recording), no_events=_why_no_events(info, recording, config))
    return replace(info, geometry=geometry, channel_ids=channel_ids, assumed=tuple(assumed))


def _why_no_events(info: StreamInfo, recording: BaseRecording, config: RecordingConfig) -> str:
    """Say why the events of the file cannot be taken for pulses; "" where they can, or nobody asked for them."""
    if config.stim_times_s != AUTO:
        return ""
    stored = recording if config.probe_path is None else unattached(recording)
    try:
        found = pulse_events(stored, info.format, str(info.file), None)
    except ValueError as error:
        return str(error)
    told = f"stim_times_s='auto': {info.file} holds no events"
    return "" if found else f"{told}: give the times of the pulses as a list in seconds, or a file"


def _measured(info: StreamInfo, recording: BaseRecording) -> StreamInfo:
    return replace(
        info,
        n_channels=int(recording.get_num_channels()),
        n_samples=int(sum(recording.get_num_samples(i) for i in range(recording.get_num_segments()))),
        sampling_frequency=float(recording.get_sampling_frequency()),
        no_gain=recording.get_channel_gains() is None and recording.get_dtype().kind != "f",
        in_turn=sampled_in_turn(recording),
    )

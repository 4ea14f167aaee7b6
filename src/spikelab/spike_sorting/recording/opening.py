"""Open an input: every file filtered on its own, cut, and concatenated into one segment of microvolts."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import annotate_epochs
from spikelab.spike_sorting.recording import preprocess
from spikelab.spike_sorting.recording.boundary import reading
from spikelab.spike_sorting.recording.epochs import Segment, cut_epochs
from spikelab.spike_sorting.recording.hdf5 import set_plugin_path
from spikelab.spike_sorting.recording.probes import attach, read_probe
from spikelab.spike_sorting.recording.readers import read_file
from spikelab.spike_sorting.recording.sanity import require_sane
from spikelab.spike_sorting.recording.slicing import kept_ranges
from spikelab.spike_sorting.recording.source import Source, resolve_source, stem_of
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import Epoch, PartReader
    from spikelab.spike_sorting.settings.schema import RecordingConfig


@dataclass(frozen=True)
class _File:
    """One opened file: as stored, and filtered (the same channels and segments)."""

    name: str
    path: str
    raw: BaseRecording
    filtered: BaseRecording


def open_recording(source: Any, config: RecordingConfig) -> BaseRecording:
    """Open, scale, filter, cut and concatenate a recording. Lazy: traces are read and filtered when they are asked for.

    Parameters
    ----------
    source : str, Path, BaseRecording or Source
        A file, a folder, or a SpikeInterface recording in memory.
    config : RecordingConfig

    Returns
    -------
    BaseRecording
        float32 microvolts, one segment. Annotations: ``spikelab_epochs`` (read by :func:`.epochs_of`),
        ``spikelab_source_file``, ``spikelab_source_files`` (every file, in order; "" in memory) and
        ``spikelab_source_format``. Property ``electrode`` where the format has it.

    Raises
    ------
    FileNotFoundError
        If there is nothing at the path.
    ValueError
        If the input cannot be read as asked for; the message says what was found and what to set.
    HDF5PluginMissingError
        If a file is compressed with a filter that is not installed.

    Warns
    -----
    UserWarning
        If something was assumed: positions, ids that differ between files, an end past the recording.

    Examples
    --------
    >>> import numpy as np
    >>> from spikeinterface.core import NumpyRecording
    >>> from spikelab.spike_sorting.config import RecordingConfig
    >>> from spikelab.spike_sorting.recording import open_recording
    >>> raw = NumpyRecording([np.random.default_rng(0).normal(0, 6, (20_000, 2))], 20_000.0)  # one second, microvolts
    >>> raw.set_dummy_probe_from_locations(np.array([[0.0, 0.0], [17.5, 0.0]]))
    >>> open_recording(raw, RecordingConfig(freq_min=300.0)).get_traces(start_frame=0, end_frame=100).shape
    (100, 2)
    """
    if config.hdf5_plugin_path is not None:
        set_plugin_path(config.hdf5_plugin_path)
    resolved = resolve_source(source, config)
    stored = _alike(_read(resolved, config))
    files = _filtered(stored, config)
    segments = _segments(files)
    n_frames = sum(segment.n_frames for segment in segments)
    if n_frames == 0:
        raise ValueError(f"{_label(resolved)} has no samples")
    epochs = cut_epochs(segments, kept_ranges(n_frames, files[0].raw.get_sampling_frequency(), config))
    _tell_left_out(files, epochs)
    recording = _concatenate(files, epochs)
    preprocess.require_locations(recording, _label(resolved))
    preprocess.flip_y(recording, config.mea_y_max)
    recording.set_property("source_gain_uv", _source_gains(files[0].raw, config))
    annotate_epochs(recording, epochs)
    recording.annotate(
        spikelab_source_file=_source_file(resolved),
        spikelab_source_files=[file.path for file in files],
        spikelab_source_format=resolved.format,
    )
    return recording


def _source_gains(raw: BaseRecording, config: RecordingConfig) -> NDArray[np.float64]:
    """Microvolts per count of the file, per channel; 1 where it holds microvolts."""
    gains = raw.get_channel_gains() if config.gain_to_uv is None else config.gain_to_uv
    return np.broadcast_to(np.asarray(1.0 if gains is None else gains, dtype=np.float64), raw.get_num_channels())


def _label(source: Source) -> str:
    return _source_file(source) or "the recording in memory"


def _source_file(source: Source) -> str:
    if not source.files:
        return ""
    return str(source.files[0].parent if source.kind == "files" else source.files[0])


def _read(source: Source, config: RecordingConfig) -> list[tuple[str, Path | None, BaseRecording]]:
    """Return name, path and stored recording of every file."""
    if source.recording is None:
        return [(stem_of(path), path, read_file(path, source.format, config)) for path in source.files]
    recording = source.recording
    require_sane(recording, "the recording in memory")
    if config.probe_path is not None:
        recording = attach(recording, read_probe(Path(config.probe_path)), Path(config.probe_path))
    return [(source.stem, None, recording)]


def _alike(stored: list[tuple[str, Path | None, BaseRecording]]) -> list[tuple[str, Path | None, BaseRecording]]:
    """Return the same files with the channel ids of the first.

    Raises
    ------
    ValueError
        If channel counts or sampling rates differ.
    """
    _, first_path, first = stored[0]
    alike = [stored[0]]
    for name, path, recording in stored[1:]:
        for what, ours, theirs in (
            ("channels", first.get_num_channels(), recording.get_num_channels()),
            ("Hz", first.get_sampling_frequency(), recording.get_sampling_frequency()),
        ):
            if ours != theirs:
                raise ValueError(
                    f"files of one folder differ: {first_path} has {ours:.10g} {what}, {path} has {theirs:.10g} {what}"
                )
        alike.append((name, path, _with_ids_of(first, recording, f"{first_path} and {path}")))
    return alike


def _with_ids_of(first: BaseRecording, recording: BaseRecording, which: str) -> BaseRecording:
    if not np.array_equal(first.channel_ids, recording.channel_ids):
        if set(first.channel_ids) == set(recording.channel_ids):
            recording = recording.select_channels(list(first.channel_ids))
        else:
            _warn(f"channel ids differ between {which}: channels are matched by position, and called as in the first")
            recording = recording.rename_channels(list(first.channel_ids))
    both = first.has_probe() and recording.has_probe()
    if both and not np.array_equal(first.get_channel_locations(), recording.get_channel_locations()):
        _warn(f"channel locations differ between {which}: those of the first are used")
    return recording


def _filtered(stored: Sequence[tuple[str, Path | None, BaseRecording]], config: RecordingConfig) -> list[_File]:
    """Drop bad channels, scale, filter and re-reference every file."""
    listed = (
        [] if config.bad_channels is None or config.bad_channels == "auto" else [str(c) for c in config.bad_channels]
    )
    files = []
    for name, path, recording in stored:
        where = str(path) if path is not None else "the recording in memory"
        raw = preprocess.drop_channels(recording, listed, where)
        scaled = preprocess.to_microvolts(raw, config.gain_to_uv, config.offset_to_uv, where)
        filtered = preprocess.band_pass(scaled, config.freq_min, config.freq_max, where)
        files.append(_File(name, "" if path is None else str(path), raw, filtered))
    if config.bad_channels == "auto":
        files = _without_bad_channels(files)
    return [
        _File(file.name, file.path, file.raw, preprocess.common_reference(file.filtered, config.common_reference))
        for file in files
    ]


def _without_bad_channels(files: list[_File]) -> list[_File]:
    """Leave out, in all files, the channels that are bad in any of them."""
    bad: set[str] = set()
    for file in files:
        if file.filtered.get_total_samples():
            with reading(file.path, "in search of bad channels") if file.path else nullcontext():
                bad |= preprocess.find_bad_channels(file.filtered)
    if not bad:
        return files
    _warn(
        f"bad_channels='auto' leaves out {len(bad)} of {files[0].raw.get_num_channels()} channels: "
        f"{', '.join(sorted(bad))}"
    )
    return [
        _File(
            file.name,
            file.path,
            preprocess.drop_channels(file.raw, bad, file.name),
            preprocess.drop_channels(file.filtered, bad, file.name),
        )
        for file in files
    ]


def _segments(files: Sequence[_File]) -> list[Segment]:
    return [
        Segment(index, segment, int(file.raw.get_num_samples(segment)), file.name, file.path)
        for index, file in enumerate(files)
        for segment in range(file.raw.get_num_segments())
    ]


def _tell_left_out(files: Sequence[_File], epochs: Sequence[Epoch]) -> None:
    kept = {epoch.source_index for epoch in epochs}
    left_out = [file.path for index, file in enumerate(files) if index not in kept]
    if left_out:
        _warn(f"nothing of {', '.join(left_out)} is kept: empty, or outside the times and pieces that are kept")


def _concatenate(files: Sequence[_File], epochs: Sequence[Epoch]) -> BaseRecording:
    from spikelab.spike_sorting.recording.prepared import PreparedRecording

    return PreparedRecording(
        [_piece(files[epoch.source_index].filtered, epoch) for epoch in epochs],
        raw_pieces=[_piece(files[epoch.source_index].raw, epoch) for epoch in epochs],
        part_readers=[_part_reader(files[epoch.source_index].filtered, epoch) for epoch in epochs],
    )


def _part_reader(filtered: BaseRecording, epoch: Epoch) -> PartReader | None:
    """Read an epoch a few channels at a time, as the band-pass does unless other steps follow it."""
    from spikelab.spike_sorting.filters.bandpass import BandPassRecording

    if not isinstance(filtered, BandPassRecording):
        return None
    segment, offset = filtered.segments[epoch.source_segment], epoch.source_start_frame
    return lambda start, end: segment.read_parts(offset + start, offset + end)


def _piece(recording: BaseRecording, epoch: Epoch) -> BaseRecording:
    if recording.get_num_segments() > 1:
        # select_segments takes the segments away from its parent, which may be the user's: so from a wrapper.
        recording = recording.select_channels(recording.channel_ids).select_segments([epoch.source_segment])
    return recording.frame_slice(epoch.source_start_frame, epoch.source_start_frame + epoch.n_frames)


def _warn(message: str) -> None:
    warn(message)

"""Open an input: every file filtered on its own, cut, and concatenated into one segment of microvolts."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import annotate_dead_time, annotate_epochs, annotate_pulses
from spikelab.spike_sorting.data.dead_time import union
from spikelab.spike_sorting.recording import preprocess
from spikelab.spike_sorting.recording.across import across_channels, interpolable
from spikelab.spike_sorting.recording.artefacts.given import periods_of_seconds, say_what_is_dead
from spikelab.spike_sorting.recording.clock import Stretched, read_clock, split_at_breaks
from spikelab.spike_sorting.recording.days import Day, on_same_electrodes
from spikelab.spike_sorting.recording.geometry import flipped, geometry_of, place, read_geometry
from spikelab.spike_sorting.recording.geometry.columns import by_shank
from spikelab.spike_sorting.recording.hdf5 import set_plugin_path
from spikelab.spike_sorting.recording.metadata_checks import require_sane
from spikelab.spike_sorting.recording.motion import with_motion
from spikelab.spike_sorting.recording.probes import attach, read_probe, unattached
from spikelab.spike_sorting.recording.read_errors import reading
from spikelab.spike_sorting.recording.readers import read_file
from spikelab.spike_sorting.recording.sample_times import sample_shifts
from spikelab.spike_sorting.recording.slicing import (
    Cut,
    Segment,
    cuts_of,
    dead_time_of_cuts,
    epochs_of_cuts,
    kept_ranges,
    pulses_of_cuts,
)
from spikelab.spike_sorting.recording.source import Source, resolve_source, stem_of
from spikelab.spike_sorting.recording.stimulation import (
    AUTO,
    as_frames,
    by_file_clock,
    given_times,
    pulse_events,
    require_events,
    without_pulses,
)
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.data import Epoch, Geometry, IntArray, PartReader
    from spikelab.spike_sorting.recording.stimulation import Noted
    from spikelab.spike_sorting.settings.schema import RecordingConfig


IN_MEMORY_LABEL = "the recording in memory"


@dataclass(frozen=True)
class _File:
    """One opened file, or a recording in memory, which has no path: as stored, and filtered."""

    name: str
    path: str
    raw: BaseRecording
    cleaned: BaseRecording = None  # as stored, without pulses; None where that is `raw`
    filtered: BaseRecording = None  # until :func:`_filtered` sets it
    stretches: tuple[Stretched, ...] = ()  # one for each segment of `raw`
    clock_zero: str = ""  # date and time at which the file's clock shows 0
    dead_time: tuple[IntArray, ...] = ()  # periods of each segment of `raw`, in its frames; () where there are none
    events: Mapping[str, NDArray[np.float64]] | None = None  # of channels, in s on the file's clock, where asked for
    given: tuple[Noted, ...] = ()  # frames and sites of the pulses of each segment, as noted
    pulses: tuple[IntArray, ...] = ()  # frame and site of each, as found; () where there are none

    @property
    def unfiltered(self) -> BaseRecording:
        """What is filtered: without pulses and artefacts, where these were removed."""
        return self.raw if self.cleaned is None else self.cleaned

    @property
    def label(self) -> str:
        """Name for messages."""
        return self.path or IN_MEMORY_LABEL


def open_recording(source: Any, config: RecordingConfig, n_jobs: int = 1) -> BaseRecording:
    """Open, scale, filter, cut and concatenate a recording. Lazy: traces are read and filtered when they are asked for.

    Where movement is corrected, all of it is read once to measure that.

    Parameters
    ----------
    source : str, Path, BaseRecording or Source
        A file, a folder, or a SpikeInterface recording in memory.
    config : RecordingConfig
    n_jobs : int
        Threads that measure movement.

    Returns
    -------
    BaseRecording
        float32 microvolts, one segment. Annotations: ``spikelab_epochs`` (read by :func:`.epochs_of`),
        ``spikelab_dead_time`` (read by :func:`.dead_time_of`; only where there is any), ``spikelab_source_file``,
        ``spikelab_source_files`` (every file, in order; "" in memory) and ``spikelab_source_format``. Property
        ``electrode`` where the format has it.

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
    opened = [_on_their_clock(file, resolved.format, config) for file in _read(resolved, config)]
    located, geometry = _on_same_electrodes(opened, config)
    located, sites = _with_pulse_times(located, config)
    unstimulated = [_without_pulses(file, sites, config) for file in located]
    files = _filtered(_without_artefacts(unstimulated, geometry, config), geometry, config)
    fs = float(files[0].raw.get_sampling_frequency())
    cuts = _cuts(_segments(files), fs, config, _label(resolved))
    epochs = epochs_of_cuts(cuts, fs)
    _warn_of_files_left_out(files, epochs)
    recording = _concatenate(files, cuts)
    recording.set_dummy_probe_from_locations(geometry_of(recording).places)
    recording.set_property("source_gain_uv", _source_gains(files[0].raw, config))
    annotate_epochs(recording, epochs)
    annotate_dead_time(recording, dead_time_of_cuts(cuts, [file.dead_time for file in files]))
    annotate_pulses(recording, pulses_of_cuts(cuts, [file.pulses for file in files], sites))
    recording.annotate(
        spikelab_source_file=_source_file(resolved),
        spikelab_source_files=[file.path for file in files],
        spikelab_source_format=resolved.format,
    )
    if config.motion is None:
        return recording
    return with_motion(recording, geometry_of(recording), config.motion, n_jobs)


def _cuts(segments: Sequence[Segment], fs: float, config: RecordingConfig, label: str) -> list[Cut]:
    """Return what is kept of the segments; a ValueError where that is nothing."""
    if not any(segment.n_frames for segment in segments):
        raise ValueError(f"{label} has no samples")
    cuts = cuts_of(segments, kept_ranges(sum(segment.n_told for segment in segments), fs, config))
    if not cuts:
        raise ValueError(f"what is kept of {label} holds only stretches that are too short to filter: keep more")
    return cuts


def _source_gains(raw: BaseRecording, config: RecordingConfig) -> NDArray[np.float64]:
    """Return microvolts per count of the file, per channel; 1 where the file holds microvolts."""
    gains = raw.get_channel_gains() if config.gain_to_uv is None else config.gain_to_uv
    return np.broadcast_to(np.asarray(1.0 if gains is None else gains, dtype=np.float64), raw.get_num_channels())


def _label(source: Source) -> str:
    return _source_file(source) or IN_MEMORY_LABEL


def _source_file(source: Source) -> str:
    if not source.files:
        return ""
    return str(source.files[0].parent if source.kind == "files" else source.files[0])


def _read(source: Source, config: RecordingConfig) -> list[_File]:
    """Open every file as it is stored."""
    if source.recording is None:
        return [_File(stem_of(path), str(path), read_file(path, source.format, config)) for path in source.files]
    recording = source.recording
    require_sane(recording, IN_MEMORY_LABEL)
    if config.probe_path is not None:
        recording = attach(recording, read_probe(Path(config.probe_path)), Path(config.probe_path))
    return [_File(source.stem, "", recording)]


def _on_their_clock(file: _File, format_name: str, config: RecordingConfig) -> _File:
    """Split a file where its clock jumps; segments that are too short to filter are left out."""
    # Only the reader itself knows its file: a selection of its channels, as that of a probe file is, does not.
    stored = file.raw if config.probe_path is None else unattached(file.raw)
    with reading(file.path, "for its clock") if file.path else nullcontext():
        clock = read_clock(stored, format_name, file.path)
    raw, stretched = split_at_breaks(file.raw, clock, file.label, preprocess.MIN_FILTER_FRAMES)
    events = None
    if config.stim_times_s == AUTO:
        begun = next((part.start_s for of_segment in clock.segments for part in of_segment), None)
        with reading(file.path, "for its events") if file.path else nullcontext():
            events = pulse_events(stored, format_name, file.path, begun)
    return replace(file, raw=raw, stretches=tuple(stretched), clock_zero=clock.zero, events=events)


def _with_pulse_times(files: list[_File], config: RecordingConfig) -> tuple[list[_File], list[str]]:
    """Note the frames of the stimulation pulses of each file; return also the names of all sites."""
    if config.stim_times_s is None:
        return files, []
    require_events([file.events for file in files], [file.label for file in files])
    fs = float(files[0].raw.get_sampling_frequency())
    given = _events_of(files, fs) if config.stim_times_s == AUTO else _given_to(files, config.stim_times_s, fs)
    sites = sorted({site for of_file in given for _, names in of_file for site in names})
    return [replace(file, given=tuple(own)) for file, own in zip(files, given, strict=True)], sites


def _lengths(file: _File) -> list[int]:
    return [int(file.raw.get_num_samples(segment)) for segment in range(file.raw.get_num_segments())]


def _told_lengths(file: _File) -> list[int]:
    """Return three lengths for each segment: what is left out before it, its own, and what is left out after it."""
    own = zip(file.stretches, _lengths(file), strict=True)
    return [length for s, n in own for length in (s.short_before, n, s.short_after)]


def _events_of(files: Sequence[_File], fs: float) -> list[list[Noted]]:
    """Find the frames of the events that each file holds."""
    given = []
    for file in files:
        zipped = zip(file.stretches, _lengths(file), strict=True)
        given.append(by_file_clock(file.events or {}, [(s.start_s or 0.0, s.scale, n) for s, n in zipped], fs))
    return given


def _given_to(files: Sequence[_File], setting: Any, fs: float) -> list[list[Noted]]:
    """Find the frames of the times that somebody noted, which go on from one file to the next."""
    alone = len(files) == 1
    begun = files[0].stretches[0].start_s if alone else None
    label = files[0].label if alone else f"the {len(files)} files"
    lengths = [_told_lengths(file) for file in files]
    flat = iter(as_frames(given_times(setting), [n for own in lengths for n in own], fs, label, begun))
    return [[next(flat) for _ in own][1::3] for own in lengths]


def _on_same_electrodes(files: Sequence[_File], config: RecordingConfig) -> tuple[list[_File], Geometry]:
    """Read the geometry of every file, bring the files to the same electrodes, and return these."""
    days = [Day(file.label, file.raw, read_geometry(file.raw, file.label, config.electrode_groups)) for file in files]
    routed = on_same_electrodes(days, config.days, config.rate_tolerance_ppm)
    located = [_routed(file, day.recording) for file, day in zip(files, routed, strict=True)]
    return located, flipped(routed[0].geometry, config.mea_y_max)


def _routed(file: _File, raw: BaseRecording) -> _File:
    """Take the routed channels of a file; where they have another rate, frames are that much longer on its clock."""
    longer = float(raw.get_sampling_frequency() / file.raw.get_sampling_frequency())
    return replace(file, raw=raw, stretches=tuple(replace(s, scale=s.scale * longer) for s in file.stretches))


def _without_pulses(file: _File, sites: Sequence[str], config: RecordingConfig) -> _File:
    """Remove the pulses of a file, and note where they and the dead time are."""
    if not any(len(frames) for frames, _ in file.given):
        return file
    band, only_seen = (config.freq_min, config.freq_max), config.stim_times_s == AUTO
    with reading(file.path, "for stimulation pulses") if file.path else nullcontext():
        found = without_pulses(file.raw, file.given, sites, band, file.label, only_seen=only_seen)
    return replace(file, cleaned=found.recording, pulses=found.pulses, dead_time=found.dead_time)


def _without_artefacts(files: list[_File], geometry: Geometry, config: RecordingConfig) -> list[_File]:
    """Bridge the periods of artefact of every file, found or given, and note them as dead time."""
    if config.artifacts is None:
        return files
    fs, lengths = float(files[0].raw.get_sampling_frequency()), [_lengths(file) for file in files]
    if isinstance(config.artifacts, str):
        found = [_artefacts_of(file, geometry, config) for file in files]
    else:
        told = periods_of_seconds(config.artifacts, [_told_lengths(file) for file in files], fs)
        found = [of_file[1::3] for of_file in told]
    say_what_is_dead(found, sum(map(sum, lengths)), fs)
    return [_bridged(file, own) for file, own in zip(files, found, strict=True)]


def _artefacts_of(file: _File, geometry: Geometry, config: RecordingConfig) -> list[IntArray]:
    from spikelab.spike_sorting.recording.artefacts.finding import find_artefacts

    with reading(file.path, "in search of artefacts") if file.path else nullcontext():
        shanks = by_shank(geometry).channels_of_groups()
        return find_artefacts(file.unfiltered, partial(_band_passed, file=file, config=config), shanks)


def _band_passed(stored: BaseRecording, file: _File, config: RecordingConfig) -> BaseRecording:
    scaled = preprocess.to_microvolts(
        stored, config.gain_to_uv, config.offset_to_uv, file.label, stored=file.raw.get_dtype()
    )
    return preprocess.band_pass(scaled, config.freq_min, config.freq_max, file.label)


def _bridged(file: _File, periods: Sequence[IntArray]) -> _File:
    if not any(map(len, periods)):
        return file
    from spikelab.spike_sorting.recording.artefacts.bridging import bridged

    before = file.dead_time or [union()] * len(periods)
    dead = tuple(union(own, others) for own, others in zip(periods, before, strict=True))
    return replace(file, cleaned=bridged(file.unfiltered, periods), dead_time=dead)


def _filtered(files: Sequence[_File], geometry: Geometry, config: RecordingConfig) -> list[_File]:
    """Scale and filter every file, leave out or interpolate bad channels, and take the steps across channels."""
    interpolated: frozenset[str] = frozenset()
    if config.bad_channels == "auto" or config.bad_channels_action == "interpolate":
        filtered, interpolated = _without_worst(files, geometry, config)
    else:
        filtered = [_band(file, geometry, config, _listed(config)) for file in files]
    return [
        replace(file, filtered=across_channels(file.filtered, config, interpolated, file.label)) for file in filtered
    ]


def _listed(config: RecordingConfig) -> frozenset[str]:
    return frozenset(map(str, config.bad_channels or ()))


def _without_worst(
    files: Sequence[_File], geometry: Geometry, config: RecordingConfig
) -> tuple[list[_File], frozenset[str]]:
    """Filter every file without the bad channels that are left out, and return those that are interpolated."""
    whole = [_band(file, geometry, config, frozenset()) for file in files]
    bad = _bad_channels(whole) if config.bad_channels == "auto" else _listed(config)
    left_out = _left_out(whole, bad, config)
    filtered = [_band(file, geometry, config, left_out) for file in files] if left_out else whole
    return filtered, bad - left_out


def _band(file: _File, geometry: Geometry, config: RecordingConfig, left_out: frozenset[str]) -> _File:
    """Scale and filter a file without some channels."""
    raw = preprocess.drop_channels(file.raw, left_out, file.label)
    unfiltered = raw if file.cleaned is None else preprocess.drop_channels(file.cleaned, left_out, file.label)
    scaled = preprocess.to_microvolts(
        unfiltered, config.gain_to_uv, config.offset_to_uv, file.label, stored=raw.get_dtype()
    )
    shifts = None
    if config.phase_shift is not False:
        shifts = sample_shifts(raw, file.label, required=config.phase_shift is True)
    band = preprocess.band_pass(scaled, config.freq_min, config.freq_max, file.label, shifts)
    place(band, geometry.take(file.raw.ids_to_indices(raw.channel_ids)))
    return replace(file, raw=raw, filtered=band)


def _bad_channels(files: Sequence[_File]) -> frozenset[str]:
    """Find the channels that are bad in any of the files."""
    bad: set[str] = set()
    for file in files:
        if file.filtered.get_total_samples():
            with reading(file.path, "in search of bad channels") if file.path else nullcontext():
                bad |= preprocess.find_bad_channels(file.filtered, file.dead_time)
    return frozenset(bad)


def _left_out(files: Sequence[_File], bad: frozenset[str], config: RecordingConfig) -> frozenset[str]:
    """Return which bad channels are left out; those that can be interpolated are not, where the settings say so."""
    if not bad:
        return bad
    for file in files:
        preprocess.require_channels(file.raw, bad, file.label)
    names = [str(channel) for channel in files[0].filtered.channel_ids]
    left_out = bad
    if config.bad_channels_action == "interpolate":
        left_out = bad - interpolable(geometry_of(files[0].filtered), names, bad)
    auto = config.bad_channels == "auto"
    if auto and bad - left_out:
        warn(f"bad_channels='auto' interpolates {_some_of(bad - left_out, names)}")
    if auto and left_out:
        warn(f"bad_channels='auto' leaves out {_some_of(left_out, names)}")
    elif left_out:
        warn(f"bad_channels leaves out {_some_of(left_out, names)}: no channel is near enough to interpolate from")
    return left_out


def _some_of(channels: frozenset[str], names: Sequence[str]) -> str:
    return f"{len(channels)} of {len(names)} channels: {', '.join(sorted(channels))}"


def _segments(files: Sequence[_File]) -> list[Segment]:
    return [
        Segment(
            index,
            segment,
            int(file.raw.get_num_samples(segment)),
            file.name,
            file.path,
            stretch.source_segment,
            stretch.source_start_frame,
            stretch.start_s,
            file.clock_zero,
            stretch.scale,
            stretch.short_before,
            stretch.short_after,
        )
        for index, file in enumerate(files)
        for segment, stretch in enumerate(file.stretches)
    ]


def _warn_of_files_left_out(files: Sequence[_File], epochs: Sequence[Epoch]) -> None:
    kept = {epoch.source_index for epoch in epochs}
    left_out = [file.path for index, file in enumerate(files) if index not in kept]
    if left_out:
        warn(f"nothing of {', '.join(left_out)} is kept: empty, or outside the times and pieces that are kept")


def _concatenate(files: Sequence[_File], cuts: Sequence[Cut]) -> BaseRecording:
    from spikelab.spike_sorting.recording.pieces import PiecesRecording
    from spikelab.spike_sorting.recording.prepared import PreparedRecording

    filtered, stored = [], []
    for index, group in groupby(cuts, key=lambda cut: cut.segment.source_index):
        pieces = [(cut.segment.segment, cut.start, cut.end) for cut in group]
        filtered.append(PiecesRecording(files[index].filtered, pieces))
        stored.append(PiecesRecording(files[index].raw, pieces))
    return PreparedRecording(
        filtered,
        raw_pieces=stored,
        part_readers=[_part_reader(files[cut.segment.source_index].filtered, cut) for cut in cuts],
    )


def _part_reader(filtered: BaseRecording, cut: Cut) -> PartReader | None:
    """Make the reader of an epoch a few channels at a time; None where steps follow the band-pass."""
    from spikelab.spike_sorting.filters.bandpass import BandPassRecording

    if not isinstance(filtered, BandPassRecording):
        return None
    segment, offset = filtered.segments[cut.segment.segment], cut.start
    return lambda start, end: segment.read_parts(offset + start, offset + end)

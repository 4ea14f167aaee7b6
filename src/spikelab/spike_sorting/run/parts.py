"""Look into an input, and say as which recordings it is sorted: streams, recordings of wells, settings, faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.recording.streams import Stream, chosen_stream, listed
from spikelab.spike_sorting.run.choices import choose_for
from spikelab.spike_sorting.run.faults import Fault, Seen, faults_of, unreadable
from spikelab.spike_sorting.run.jobs import of_each_recording

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from spikelab.spike_sorting.recording import StreamInfo
    from spikelab.spike_sorting.run.wanted import Wanted

ALL = "all"
# Of what cannot be looked into at all.
UNREADABLE = (OSError, ValueError, ImportError, SpikeSortingClassifiedError)


@dataclass(frozen=True)
class Part:
    """One recording of an input as it would be sorted."""

    path: Path
    wanted: Wanted
    seen: Seen | None  # None where nothing could be looked at
    faults: tuple[Fault, ...] = ()
    left_out: str = ""  # streams of the input that are not sorted, and why

    @property
    def chosen(self) -> dict[str, str]:
        """What was chosen, and why, for the record of the run."""
        return {name: choice.text for name, choice in self.wanted.chosen.items()}


def parts_of(path: Path, wanted: Wanted, streams: Sequence[str] = (), *, all_recordings: bool = False) -> list[Part]:
    """Look into an input, without reading traces, and plan each recording that is sorted by itself.

    Without `streams`, ids or names, all that hold electrodes are taken, but for those that are too slow beside others.
    Of several recordings of a well, one is given in the settings, or, with `all_recordings`, each is planned. What
    somebody did not give is chosen for each recording.
    """
    from spikelab.spike_sorting.recording import inspect_file

    try:
        infos = inspect_file(path, config=wanted.config.recording)
    except UNREADABLE as error:
        return [Part(path, wanted, None, (Fault("file", str(error), error=error),))]
    if files := [info for info in infos if not info.readable and info.stream_id is None]:
        return [_part(path, wanted, files)]
    try:
        chosen, left_out = _streams(path, infos, wanted, tuple(streams) or _given_stream(wanted))
    except ValueError as error:
        return [Part(path, wanted, None, (Fault("stream", str(error)),))]
    parts = [part for name in chosen for part in _recordings(path, wanted, infos, name, all_recordings=all_recordings)]
    return [replace(parts[0], left_out=left_out), *parts[1:]]


def parts_of_files(
    files: Sequence[Path], wanted: Wanted, streams: Sequence[str] = (), *, all_recordings: bool = False
) -> list[Part]:
    """Plan the recordings of several inputs as :func:`parts_of` does, each with the pulse times that are its own.

    ValueError where pulse times are listed for each recording, and are as many as neither inputs nor recordings.
    """
    each = zip(files, wanted_of_files(files, wanted), strict=True)
    parts = [part for file, own in each for part in parts_of(file, own, streams, all_recordings=all_recordings)]
    common = parts[0].wanted.config
    configs = of_each_recording(common, len(parts))
    if configs[0] is common:  # no list for several
        return parts
    return [_with_pulse_times(part, own.recording.stim_times_s) for part, own in zip(parts, configs, strict=True)]


def wanted_of_files(files: Sequence[Path], wanted: Wanted) -> list[Wanted]:
    """Give each of several inputs its own of a list of pulse times that has one entry for each."""
    times = wanted.config.recording.stim_times_s
    if len(files) < 2 or not isinstance(times, list) or len(times) != len(files):  # else, it may be one for each well
        return [wanted] * len(files)
    configs = of_each_recording(wanted.config, len(files))
    return [wanted.take(stim_times_s=config.recording.stim_times_s) for config in configs]


def _with_pulse_times(part: Part, times: Any) -> Part:
    wanted = part.wanted.take(stim_times_s=times)
    if part.seen is None:
        return replace(part, wanted=wanted)
    seen = replace(part.seen, config=wanted.config)
    return replace(part, wanted=wanted, seen=seen, faults=tuple(faults_of(seen)))


def _given_stream(wanted: Wanted) -> tuple[str, ...]:
    """Return the stream, or the series of an NWB file, that the settings name."""
    recording = wanted.config.recording
    return tuple(name for name in (recording.stream_id, recording.electrical_series_path) if name is not None)


def _streams(
    path: Path, infos: Sequence[StreamInfo], wanted: Wanted, names: Sequence[str]
) -> tuple[Sequence[str | None], str]:
    """Return the ids of the streams that are sorted, None for the only one, and what is left out; or ValueError."""
    named = list(names) not in ([], [ALL])
    present = _present(infos)
    if not present and named:
        raise ValueError(f"{path} ({infos[0].format}) has no streams to choose from: leave the stream out")
    if not present:
        return [None], ""
    return (_named(path, present, names), "") if named else _all(path, present, infos, wanted)


def _named(path: Path, present: Sequence[Stream], names: Sequence[str]) -> list[str]:
    chosen = [chosen_stream(path, present, name).id for name in names]
    if len(set(chosen)) < len(chosen):
        raise ValueError(f"a stream is given twice: {', '.join(names)}")
    return chosen


def _all(
    path: Path, present: Sequence[Stream], infos: Sequence[StreamInfo], wanted: Wanted
) -> tuple[Sequence[str | None], str]:
    """Take every stream that holds electrodes, and the recording that is given, but for slow ones beside others."""
    electrodes = list(filter(attrgetter("electrodes"), present))
    if not electrodes:
        raise ValueError(f"{path} has no stream with electrodes; it has {listed(present)}: name one to sort it")
    if len(electrodes) == 1:
        return [None], ""
    asked = _with_recording(electrodes, infos, wanted.config.recording.rec_name)
    slow = _slow_beside_others(asked, 2 * wanted.config.recording.freq_max)
    told = f"not sorted, as its sampling rate is too low for spikes: {listed(slow)}" if slow else ""
    return [stream.id for stream in asked if stream not in slow], told


def _with_recording(streams: Sequence[Stream], infos: Sequence[StreamInfo], rec_name: str | None) -> Sequence[Stream]:
    """Return the wells that have the recording that is given; all where none has."""
    having = {info.stream_id for info in infos if info.rec_name == rec_name}
    return [stream for stream in streams if stream.id in having] or streams


def _slow_beside_others(streams: Sequence[Stream], rate_hz: float) -> list[Stream]:
    """Return streams, such as those of field potentials, that are slow; none where all are."""
    slow = [stream for stream in streams if stream.is_below(rate_hz)]
    return slow if len(slow) < len(streams) else []


def _present(infos: Sequence[StreamInfo]) -> list[Stream]:
    """List the streams of the first file; of a stream that could not be opened the rate is unknown."""
    streams: dict[str, Stream] = {}
    for info in infos:
        if info.stream_id is not None:
            known = Stream(info.stream_id, info.stream_name, info.electrodes, info.sampling_frequency)
            if streams.setdefault(info.stream_id, known).sampling_frequency is None:
                streams[info.stream_id] = known
    return list(streams.values())


def _recordings(
    path: Path, wanted: Wanted, infos: Sequence[StreamInfo], stream: str | None, *, all_recordings: bool
) -> list[Part]:
    """Plan the recordings of one stream, in all files of a folder."""
    own = _of_stream(infos, stream)
    if stream is not None:
        wanted = wanted.take(stream_id=stream)
    if without := _files(infos) - _files(own):
        fault = Fault("stream", f"{', '.join(sorted(without))} has no stream {stream!r}")
        return [Part(path, wanted, None, (fault,))]
    by_name: dict[str | None, list[StreamInfo]] = {}
    for info in own:
        by_name.setdefault(info.rec_name, []).append(info)
    given = wanted.config.recording.rec_name
    if given is not None and None not in by_name:
        return [_one_of_several(path, wanted, by_name, given)]
    if len(by_name) == 1:
        return [_part(path, wanted, own)]
    if all_recordings:
        return [_part(path, wanted.take(rec_name=name), of_name) for name, of_name in by_name.items()]
    several = _faulty(path, wanted, f"{path.name} has several recordings of one well", by_name, choice=True)
    return [replace(several, faults=(*several.faults, *unreadable(own)))]


def _files(infos: Sequence[StreamInfo]) -> set[str]:
    return {info.file.name for info in infos}


def _of_stream(infos: Sequence[StreamInfo], stream: str | None) -> list[StreamInfo]:
    """Return what was found of a stream in each file; without a name, of the one with electrodes."""
    return [info for info in infos if (info.electrodes if stream is None else info.stream_id == stream)]


def _one_of_several(path: Path, wanted: Wanted, by_name: Mapping[str | None, Sequence[StreamInfo]], name: str) -> Part:
    if name in by_name:
        return _part(path, wanted, by_name[name])
    of = f" of {wanted.config.recording.stream_id}" if wanted.config.recording.stream_id else ""
    return _faulty(path, wanted, f"{path.name} has no recording {name!r}{of}", by_name)


def _faulty(
    path: Path, wanted: Wanted, found: str, by_name: Mapping[str | None, object], *, choice: bool = False
) -> Part:
    names = [name for name in by_name if name is not None]
    fault = Fault(
        "config",
        found,
        f"one of {', '.join(names)}",
        {"rec_name": names[0]},
        ("--all-recordings",) if choice else (),
        choice=choice,
    )
    return Part(path, wanted, None, (fault,))


def _part(path: Path, wanted: Wanted, infos: Sequence[StreamInfo]) -> Part:
    wanted = choose_for(wanted, infos[0])
    seen = Seen(path, wanted.config, tuple(infos))
    return Part(path, wanted, seen, tuple(faults_of(seen)))

"""Look into an input, and say as which recordings it is sorted: streams, recordings of wells, settings, faults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from spikelab.spike_sorting._exceptions import SpikeSortingClassifiedError
from spikelab.spike_sorting.recording.streams import Stream, chosen_stream, listed
from spikelab.spike_sorting.run.choices import choose_for
from spikelab.spike_sorting.run.faults import Fault, Seen, faults_of

if TYPE_CHECKING:
    from collections.abc import Sequence
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
    try:
        chosen, left_out = _streams(path, infos, wanted, streams)
    except ValueError as error:
        faults = [Fault("file", info.problem) for info in infos if not info.readable]
        return [Part(path, wanted, None, (Fault("stream", str(error)), *faults))]
    parts = [
        part
        for name in chosen
        for part in _recordings(
            path, wanted, [info for info in infos if name in (None, info.stream_id)], name, all_recordings
        )
    ]
    return [replace(parts[0], left_out=left_out), *parts[1:]]


def _streams(
    path: Path, infos: Sequence[StreamInfo], wanted: Wanted, names: Sequence[str]
) -> tuple[list[str | None], str]:
    """Return the ids of the streams that are sorted, None for the only one, and what is left out; or ValueError."""
    recording = wanted.config.recording
    names = names or [name for name in (recording.stream_id, recording.electrical_series_path) if name is not None]
    present = _present(infos)
    if not present:
        if names and list(names) != [ALL]:
            raise ValueError(f"{path} ({infos[0].format}) has no streams to choose from: leave the stream out")
        return [None], ""
    if names and list(names) != [ALL]:
        chosen = [chosen_stream(path, present, name).id for name in names]
        if len(set(chosen)) < len(chosen):
            raise ValueError(f"a stream is given twice: {', '.join(names)}")
        return list(chosen), ""
    electrodes = [stream for stream in present if stream.electrodes]
    if not electrodes:
        raise ValueError(f"{path} has no stream with electrodes; it has {listed(present)}: name one to sort it")
    fast = _fast_enough(electrodes, 2 * recording.freq_max)
    left_out = [stream for stream in electrodes if stream not in fast]
    told = f"not sorted, as its sampling rate is too low for spikes: {listed(left_out)}" if left_out else ""
    return (list[str | None]([stream.id for stream in fast]) if len(electrodes) > 1 else [None]), told


def _present(infos: Sequence[StreamInfo]) -> list[Stream]:
    """List the streams of the first file; of a stream that could not be opened the rate is unknown."""
    streams: dict[str, Stream] = {}
    for info in infos:
        if info.stream_id is not None:
            known = Stream(info.stream_id, info.stream_name, info.electrodes, info.sampling_frequency)
            if streams.setdefault(info.stream_id, known).sampling_frequency is None:
                streams[info.stream_id] = known
    return list(streams.values())


def _fast_enough(streams: Sequence[Stream], rate_hz: float) -> list[Stream]:
    """Leave out streams, such as those of field potentials, that are slow beside others; all where all are slow."""
    return [stream for stream in streams if not stream.is_below(rate_hz)] or list(streams)


def _recordings(
    path: Path, wanted: Wanted, infos: list[StreamInfo], stream: str | None, all_recordings: bool
) -> list[Part]:
    """Plan the recordings of one stream."""
    if stream is not None:
        wanted = wanted.take(stream_id=stream)
    electrodes = [info for info in infos if info.electrodes] or infos
    names = list(dict.fromkeys(info.rec_name for info in electrodes if info.rec_name is not None))
    given = wanted.config.recording.rec_name
    if given is not None and names:
        electrodes = [info for info in electrodes if info.rec_name == given]
        if not electrodes:
            found = f"{path.name} has no recording {given!r}{f' of {stream}' if stream is not None else ''}"
            return [_faulty(path, wanted, found, names)]
    elif len(names) > 1 and not all_recordings:
        found = f"{path.name} has several recordings of one {'stream' if stream is None else 'well'}"
        return [_faulty(path, wanted, found, names, choice=True)]
    elif len(names) > 1:
        return [
            _part(path, wanted.take(rec_name=name), [info for info in electrodes if info.rec_name == name])
            for name in names
        ]
    return [_part(path, wanted, electrodes)]


def _faulty(path: Path, wanted: Wanted, found: str, names: Sequence[str], *, choice: bool = False) -> Part:
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

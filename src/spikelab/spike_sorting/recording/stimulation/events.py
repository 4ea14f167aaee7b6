"""Times of pulses that a file holds itself: logs, digital inputs, event channels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.recording.formats import MAXWELL, NWB
from spikelab.spike_sorting.recording.hdf5 import open_hdf5
from spikelab.system.runlog import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from spikeinterface import BaseRecording

    Events = dict[str, NDArray[np.float64]]

N_BITS = 32
# How neo labels the edges of SpikeGLX, and the events of Neuralynx at which all inputs are 0.
SWITCHED = re.compile(r"(?P<line>.*?)\s*\b(?P<way>ON|OFF)")
ALL_OFF = re.compile(r".* value \(0x0+\)\.?")
PORT = "digital_input_port"  # of Blackrock, whose labels are the states of its bits
RISING, TTL = 1, 3  # in the events of a legacy Open Ephys folder


def pulse_events(recording: BaseRecording, format_name: str, path: str, clock_start_s: float | None) -> Events:
    """Read the events of an opened file by channel, in seconds on the clock of the file.

    `clock_start_s` is the time of the first frame on that clock. ValueError where the format has no events that are
    read here.
    """
    reader = _READERS.get(format_name, _of_neo if path and hasattr(recording, "neo_reader") else None)
    if reader is None:
        what = f"{path} ({format_name})" if path else "a recording in memory"
        raise ValueError(
            f"stim_times_s='auto': {what} has no events that are read here: give the times as a list in seconds, or a "
            "file"
        )
    found = reader(recording, Path(path), clock_start_s or 0.0)
    return {channel: np.sort(times) for channel, times in found.items() if len(times)}


def require_events(events: Sequence[Mapping[str, NDArray[np.float64]] | None], labels: Sequence[str]) -> None:
    """Raise ValueError where no file holds events, and warn of those without any; None: they were not asked for."""
    empty = [label for own, label in zip(events, labels, strict=True) if own is not None and not own]
    if not empty:
        return
    told = f"stim_times_s='auto': {', '.join(empty)} {'holds' if len(empty) == 1 else 'hold'} no events"
    if len(empty) == len(events):
        raise ValueError(f"{told}: give the times of the pulses as a list in seconds, or a file")
    warn(f"{told}: no pulses are removed there")


def _of_maxwell(recording: BaseRecording, path: Path, start_s: float) -> Events:  # noqa: ARG001  one signature for all
    """Use the log of the device, where there is one, else the rising edges of its digital inputs."""
    fs, dataset = float(recording.get_sampling_frequency()), recording.segments[0].dataset.name
    with open_hdf5(path) as file:
        routed = dataset.rpartition("/")[0] or "/"
        if "frame_nos" not in file[routed]:
            raise ValueError(
                f"stim_times_s='auto': {path} is a legacy file, whose events count frames of the device from a time "
                "that it does not say: give the times as a list in seconds"
            )
        log = file.get(f"{dataset.split('/groups/')[0]}/events")
        if log is not None and "frameno" in (log.dtype.names or ()) and len(log):
            return {"log": log["frameno"][()].astype(np.float64) / fs}
        return _edges(_bits(file.get("bits")), fs)


def _bits(found: Any) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Frames and states of the digital inputs, of a table or of each table of a group."""
    tables = [] if found is None else [found] if hasattr(found, "dtype") else list(found.values())
    tables = [table[()] for table in tables if {"frameno", "bits"} <= set(table.dtype.names or ())]
    return [(table["frameno"].astype(np.int64), table["bits"].astype(np.int64)) for table in tables]


def _edges(tables: Sequence[tuple[NDArray[Any], NDArray[np.int64]]], fs: float) -> Events:
    """Find the frames at which each bit becomes 1."""
    events: Events = {}
    for frames, states in tables:
        before = np.concatenate([[0], states[:-1]])
        for bit in range(N_BITS):
            rising = ((states >> bit) & 1 == 1) & ((before >> bit) & 1 == 0)
            if rising.any():
                times = frames[rising] / fs
                events[f"bit {bit}"] = np.concatenate([events.get(f"bit {bit}", np.zeros(0)), times])
    return events


def _of_nwb(recording: BaseRecording, path: Path, start_s: float) -> Events:  # noqa: ARG001  one signature for all
    """Use the time stamps of the stimuli that were presented, by series."""
    events: Events = {}
    with open_hdf5(path) as file:
        for name, series in (file.get("stimulus/presentation") or {}).items():
            if "timestamps" in series:
                events[str(name)] = np.asarray(series["timestamps"][()], dtype=np.float64)
    return events


def _of_neo(recording: BaseRecording, path: Path, start_s: float) -> Events:  # noqa: ARG001  one signature for all
    """Use the event channels that neo reads; their clock is neo's, whose start the first frame has in common.

    Of digital lines the rising edges count.
    """
    neo, block = recording.neo_reader, int(recording.block_index or 0)
    events: Events = {}
    begun = float(neo.get_signal_t_start(block, 0, recording.stream_index))
    for index, channel in enumerate(neo.header["event_channels"]):
        for segment in range(neo.segment_count(block)):
            times, _, labels = neo.get_event_timestamps(block, segment, index)
            if not len(times):
                continue
            rising = _rising_of_legacy(neo, segment, len(times))
            seconds = np.asarray(neo.rescale_event_timestamp(times, dtype="float64", event_channel_index=index))
            seconds, texts = seconds[rising] - begun + start_s, np.asarray(labels).astype(str)[rising]
            for name, own in _lines(str(channel["name"]), texts, seconds).items():
                events[name] = np.concatenate([events.get(name, np.zeros(0)), own])
    return events


def _rising_of_legacy(neo: Any, segment: int, n_events: int) -> NDArray[np.bool_]:
    """Tell which events are no falling edges, of which the labels of a legacy Open Ephys folder do not speak."""
    table = getattr(neo, "_events_memmap", None)
    table = table.get(segment) if isinstance(table, dict) else None
    if table is None or len(table) != n_events or not {"event_id", "event_type"} <= set(table.dtype.names or ()):
        return np.ones(n_events, dtype=np.bool_)
    return np.asarray((table["event_type"] != TTL) | (table["event_id"] == RISING))


def _lines(channel: str, labels: NDArray[np.str_], seconds: NDArray[np.float64]) -> Events:
    """Divide the events of a channel by their labels, without those that say that a line is switched off."""
    if channel == PORT and _are_states(labels):
        risen = _risen(seconds, labels.astype(np.int64))
        return {f"{channel} {bit}": times for bit, times in risen.items()}
    named: Events = {}
    for label in np.unique(labels).tolist():
        switched = SWITCHED.fullmatch(label)
        if ALL_OFF.fullmatch(label) or (switched and switched["way"] == "OFF"):
            continue
        line = switched["line"] if switched else label
        name = line if line == channel else f"{channel} {line}".strip()
        named[name] = np.concatenate([named.get(name, np.zeros(0)), seconds[labels == label]])
    return named


def _are_states(labels: NDArray[np.str_]) -> bool:
    """Tell states of a port from codes: a state comes with its changes, what is repeated is a code."""
    if not all(label.isdecimal() for label in labels.tolist()):
        return False
    return bool((np.diff(labels.astype(np.int64)) != 0).all())


def _risen(seconds: NDArray[np.float64], states: NDArray[np.int64]) -> Events:
    """Find when each bit becomes 1; one that is always 1, of an input that is not connected, never does."""
    always = np.bitwise_and.reduce(states) if len(set(states.tolist())) > 1 else 0
    return _edges([(seconds, states & ~always)], 1.0) if len(states) else {}


_READERS: Mapping[str, Callable[[BaseRecording, Path, float], Events]] = {MAXWELL.name: _of_maxwell, NWB.name: _of_nwb}

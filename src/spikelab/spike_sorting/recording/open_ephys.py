"""Folders of Open Ephys recordings: which of the experiments in them is meant, and where a stream is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spikelab.spike_sorting.recording.formats import OPEN_EPHYS

if TYPE_CHECKING:
    from pathlib import Path

    from spikeinterface import BaseRecording

LISTED = 6


def require_one_experiment(folder: Path) -> None:
    """Refuse a folder with several experiments: each has a clock of its own, and may have other channels."""
    found = {
        file.parent.parent
        for mark in OPEN_EPHYS.marks
        for file in folder.glob(mark)
        if file.parent != folder and file.parent.parent != folder
    }
    if len({experiment.name for experiment in found}) < 2:
        return
    listed = sorted(found, key=lambda experiment: (len(experiment.name), str(experiment)))
    names = ", ".join(str(experiment) for experiment in listed[:LISTED])
    rest = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    raise ValueError(
        f"{folder} has {len({experiment.name for experiment in found})} experiments, which Open Ephys recorded each "
        f"with a clock of its own: give the folder of one of them, {names}{rest}"
    )


def index_in_folder(recording: BaseRecording) -> int:
    """Return the position of an Open Ephys stream's file; ADC and SYNC are in the file of their electrodes."""
    channels = recording.neo_reader.header["signal_channels"]
    return int(channels["buffer_id"][channels["stream_id"] == recording.stream_id][0])

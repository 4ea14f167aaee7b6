"""Units as SpikeInterface objects on disk, written by SpikeInterface alone.

Every epoch is a segment: spikes count from its start, and no window crosses into the next.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.dead_time import within
from spikelab.system.runlog import captured_warnings

if TYPE_CHECKING:
    from pathlib import Path

    from spikeinterface import BaseSorting

    from spikelab.spike_sorting.exchange.formats.handoff import Handoff

# Extensions that need the traces and are quick; the others can be computed from them later.
EXTENSIONS = ("random_spikes", "waveforms", "templates", "noise_levels", "spike_amplitudes", "unit_locations")
NOT_PROPERTIES = ("unit_id", "channel", "channel_id", "template_peak_ind")
SPARSITY_RADIUS_UM = 100.0


def sorting_of(handoff: Handoff) -> BaseSorting:
    """Convert the units to a ``NumpySorting`` with their attributes as properties."""
    recording = handoff.recording
    sorting = handoff.trains.to_segments(recording.sampling_frequency, recording.epochs)
    for name, values in handoff.columns().items():
        if name not in NOT_PROPERTIES and None not in values:
            sorting.set_property(name, np.array(values))
    sorting.annotate(**_annotations(handoff))
    if handoff.units.N:
        # Property by which SpikeInterface finds the main channel.
        sorting.set_property("main_channel_id", np.array(recording.channel_ids)[handoff.main_channels])
    return sorting


def _annotations(handoff: Handoff) -> dict[str, Any]:
    """List dead time and pulses: in seconds of the whole recording, and, for each segment, from its start."""
    recording, known = handoff.recording, handoff.units.metadata
    found: dict[str, Any] = {
        name: known[name] for name in ("dead_time_s", "stim_times_s", "stim_sites") if name in known
    }
    fs, pulses, segments = recording.sampling_frequency, recording.pulses, recording.epochs
    if "dead_time_s" in found:
        found["segment_dead_time_s"] = [
            ((within(recording.dead_time, epoch.start_frame, epoch.end_frame) - epoch.start_frame) / fs).tolist()
            for epoch in segments
        ]
    if "stim_times_s" in found:
        ranges = [np.searchsorted(pulses.frames, [epoch.start_frame, epoch.end_frame]) for epoch in segments]
        found["segment_stim_times_s"] = [
            ((pulses.frames[first:last] - epoch.start_frame) / fs).tolist()
            for epoch, (first, last) in zip(segments, ranges, strict=True)
        ]
        if "stim_sites" in found:
            found["segment_stim_sites"] = [list(found["stim_sites"][first:last]) for first, last in ranges]
    return found


def write_sorting(handoff: Handoff, folder: Path) -> None:
    """Write the units as a folder for ``spikeinterface.load``; `folder` must not exist."""
    with captured_warnings():  # that the extractor is not serializable: it was in memory
        sorting_of(handoff).save(folder=folder)


def write_analyzer(handoff: Handoff, folder: Path, traces: Path, *, seed: int, n_jobs: int) -> None:
    """Write a ``SortingAnalyzer`` for ``spikeinterface.load_sorting_analyzer``; `folder` must not exist.

    Main channels and spike frames are kept. The analyzer remembers where the binary file `traces` is relative to
    `folder`; `seed` chooses its random spikes.
    """
    import spikeinterface.postprocessing  # noqa: F401  registers the extensions
    from spikeinterface.core import create_sorting_analyzer

    if handoff.units.N == 0:
        raise ValueError("there are no units to analyse")
    recording = replace(handoff.recording, path=traces)
    fs = recording.sampling_frequency
    job: dict[str, Any] = {"n_jobs": n_jobs, "pool_engine": "thread", "progress_bar": False}
    n_after = handoff.templates.shape[1] - handoff.n_before
    # A little more, for the same number of samples whether it is rounded or cut off.
    window = {"ms_before": (handoff.n_before + 0.1) * 1000 / fs, "ms_after": (n_after + 0.1) * 1000 / fs}
    parameters: dict[str, dict[str, Any]] = {
        "random_spikes": {"seed": seed},
        "waveforms": window,
        "templates": window,
        "noise_levels": {"random_slices_kwargs": {"seed": seed}},
        "unit_locations": {"method": "center_of_mass"},
    }
    with captured_warnings():  # of few spikes and short recordings, which are no fault of the user
        analyzer = create_sorting_analyzer(
            sorting_of(handoff),
            recording.to_segments(),
            format="binary_folder",
            folder=folder,
            main_channel_indices=handoff.main_channels,
            sparsity_kwargs={"method": "radius", "radius_um": SPARSITY_RADIUS_UM},
            job_kwargs=job,
        )
        for name in EXTENSIONS:
            analyzer.compute(name, **parameters.get(name, {}), **job)

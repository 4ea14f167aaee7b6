"""Are the outputs right? Plain numpy in float64 on the same filtered file, spike by spike."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from benchmarks.recordings import JITTER_FRAMES, REFRACTORY_FRAMES, SPIKES_FILE
from benchmarks.tasks import filtered_binary
from spikelab.spike_sorting.config import ExecutionConfig, WaveformConfig
from spikelab.spike_sorting.data import SpikeTrains, Waveforms
from spikelab.spike_sorting.stages.context import stage_seed
from spikelab.spike_sorting.waveforms.engine import averaged_spikes
from spikelab.spike_sorting.waveforms.windows import Window

TOLERANCE = 1e-4
SEARCH_FRAMES = 10  # 0.5 ms


def check(recording: Path, folder: Path, n_units: int = 10) -> float:
    """Compare spikes and templates of `n_units` units with the reference; return the largest relative error.

    Raises
    ------
    AssertionError
        A spike is not at its peak, or a template or standard deviation is off by more than 1e-4 of its largest value.
    """
    assert REFRACTORY_FRAMES > 2 * (SEARCH_FRAMES + JITTER_FRAMES), "spikes of a unit must not share a search window"
    binary = filtered_binary(folder)
    stages = folder / "results" / "stages"
    found = Waveforms.load(stages / "waveforms")
    reported = SpikeTrains.load(recording / SPIKES_FILE)
    content = json.loads((stages / "recording" / "manifest.json").read_text(encoding="utf-8"))["info"]["content"]
    seed = stage_seed(ExecutionConfig().random_seed, "waveforms", content)
    window = Window(found.n_before, found.templates.shape[1] - 1 - found.n_before)
    worst = 0.0
    for unit in np.linspace(0, found.n_units - 1, min(n_units, found.n_units)).astype(int):
        channel = found.main_channels[unit]
        around = reported.samples[unit][:, None] + np.arange(-SEARCH_FRAMES, SEARCH_FRAMES + 1)
        peaks = around[np.arange(len(around)), binary.counts[around, channel].argmin(axis=1)]
        assert np.array_equal(peaks, found.spikes[unit]), f"spikes of unit {unit} are not where the trace is lowest"
        limit = WaveformConfig().max_waveforms_per_unit
        chosen = averaged_spikes(peaks, int(found.unit_ids[unit]), binary.epochs, window, limit, seed)
        windows = np.stack([binary.counts[f - window.n_before : f + window.n_after + 1] for f in chosen])
        windows = windows.astype(np.float64) * binary.gain_uv
        for reference, ours in ((windows.mean(0), found.templates[unit]), (windows.std(0), found.template_stds[unit])):
            worst = max(worst, float(np.abs(ours - reference).max() / np.abs(reference).max()))
    assert worst <= TOLERANCE, f"templates are off by {worst:.2g} of their largest value"
    return worst

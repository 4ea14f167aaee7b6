"""Recordings to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from spikelab import SpikeData
from spikelab.spike_sorting.config import CurationConfig
from spikelab.spike_sorting.curation import curate_two_rounds
from spikelab.spike_sorting.figures import FigureRecording

if TYPE_CHECKING:
    from collections.abc import Callable

FS = 20_000.0
N_BEFORE, N_SAMPLES, N_CHANNELS = 40, 81, 6
LENGTH_MS = 60_000.0


@pytest.fixture
def make_recording() -> Callable[..., FigureRecording]:
    return _make_recording


def _make_recording(
    name: str = "chip1", n_units: int = 8, metadata: dict[str, Any] | None = None, **attributes: Any
) -> FigureRecording:
    """Unit i has 40 + 10 i spikes, 20 (i + 1) uV, std_norm 0.2 + 0.1 i; every fourth has a positive peak.

    The defaults of curation fail unit 0 (40 spikes, second round); `attributes` replace those of every unit.
    """
    units, trains = [], []
    for i in range(n_units):
        sign = 1.0 if i % 4 == 3 else -1.0
        template = np.zeros((N_SAMPLES, N_CHANNELS), dtype=np.float32)
        template[N_BEFORE, i % N_CHANNELS] = sign * 20 * (i + 1)
        units.append(
            {
                "unit_id": i,
                "channel": i % N_CHANNELS,
                "channel_id": str(i % N_CHANNELS),
                "x": 17.5 * (i % 3),
                "y": 17.5 * (i % N_CHANNELS // 3),
                "template": template,
                "template_full": template,
                "template_peak_ind": N_BEFORE,
                "amplitude": 20.0 * (i + 1),
                "snr": 6.0 + i,
                "std_norm": 0.2 + 0.1 * i,
                "has_pos_peak": sign > 0,
                **attributes,
            }
        )
        trains.append((np.arange(40 + 10 * i) + 0.5) * LENGTH_MS / (40 + 10 * i))
    locations = np.array([[17.5 * (c % 3), 17.5 * (c // 3)] for c in range(N_CHANNELS)])
    fixed = {"fs_Hz": FS, "channel_locations": locations, "template_full_peak_ind": N_BEFORE}
    sd = SpikeData(trains, length=LENGTH_MS, neuron_attributes=units, metadata={**fixed, **(metadata or {})})
    return FigureRecording(name, sd, curate_two_rounds(sd, CurationConfig()))

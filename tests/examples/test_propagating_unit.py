"""The example draws a unit that travels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from examples import propagating_unit
from spikelab.spike_sorting.rt_sort import detect_sequences


def test_a_unit_with_an_axon_is_followed_and_drawn(tmp_path: Path) -> None:
    recording = propagating_unit.axonal_recording(seconds=10.0, units=4, seed=1)
    rt_sort = detect_sequences(recording, num_processes=1)
    units = [propagating_unit.describe(rt_sort, index) for index in range(rt_sort.n_sequences)]
    unit = max(units, key=propagating_unit.reach)
    far = unit.distances > 100
    assert far.sum() >= 3
    speeds = unit.distances[far] / unit.latencies_ms[far] / 1000
    assert 0.2 < np.median(speeds) < 1.2  # the axons conduct at 0.3 to 0.6 m/s
    propagating_unit.save_small(propagating_unit.draw(unit, rt_sort.locations), tmp_path / "unit.png")
    assert (tmp_path / "unit.png").stat().st_size > 10_000


def test_a_trough_between_two_frames() -> None:
    times = np.arange(-5, 6)
    assert propagating_unit.vertex((times - 0.3) ** 2 - 10.0) == pytest.approx(5.3)

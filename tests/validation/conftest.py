"""One recording with six known units, for all tests of validation that only read it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from tests.validation.known import footprint, grid, measured, trains_of, write

from spikelab.spike_sorting.data import BinaryRecording, Waveforms

MAINS, SECONDS, RATE = (0, 4, 12, 20, 24, 14), 12.0, 10.0


class World(NamedTuple):
    """A recording, its waveforms, and what is in it."""

    binary: BinaryRecording
    waveforms: Waveforms
    shapes: list[np.ndarray]
    trains: list[np.ndarray]


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Six units of their own widths on a grid of 25 electrodes."""
    locations = grid()
    shapes = [footprint(locations, main, 60.0 + 15 * k, 0.8 + 0.15 * k, 12.0 + 2 * k) for k, main in enumerate(MAINS)]
    trains = trains_of(len(MAINS), RATE, SECONDS)
    binary = write(tmp_path_factory.mktemp("world") / "traces.dat", locations, shapes, trains, SECONDS)
    return World(binary, measured(binary, trains), shapes, trains)

"""Dead time in what is handed on."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from spikelab import SpikeData
from spikelab.spike_sorting.compilation.results import _shared
from spikelab.spike_sorting.data import BinaryRecording, Epoch
from spikelab.spike_sorting.exchange.formats.clock import clock_of
from spikelab.spike_sorting.exchange.formats.nwb import _add_dead_time
from spikelab.spike_sorting.report._content import _recording_facts
from spikelab.spike_sorting.report._plots import activity

FS = 1000.0
DEAD = np.array([[100, 200], [900, 1100]])


@dataclass
class File:
    """What an NWB file takes of invalid times."""

    rows: list[dict[str, Any]] = field(default_factory=list)

    def add_invalid_time_interval(self, **values: Any) -> None:
        self.rows.append(values)


@pytest.fixture
def recording(tmp_path):
    epochs = (Epoch(0, 1000, "a", clock_start_s=5.0), Epoch(1000, 2000, "b", clock_start_s=50.0))
    shape = {"n_samples": 2000, "n_channels": 1, "sampling_frequency": FS, "gain_uv": 1.0}
    channels = {"channel_ids": ("a",), "locations": np.zeros((1, 2)), "electrodes": None}
    return BinaryRecording(tmp_path / "traces.dat", **shape, **channels, epochs=epochs, dead_time=DEAD)


def test_nwb_has_invalid_times_on_the_clock_of_the_source(recording):
    file = File()
    _add_dead_time(file, recording, clock_of(recording))
    edges = [[row["start_time"], row["stop_time"]] for row in file.rows]
    assert np.ravel(edges) == pytest.approx([5.1, 5.2, 5.9, 6.0, 50.0, 50.1])


def test_nwb_takes_them():
    pynwb = pytest.importorskip("pynwb")
    from datetime import UTC, datetime

    file = pynwb.NWBFile("a session", "an id", datetime(2026, 1, 1, tzinfo=UTC))
    file.add_invalid_time_interval(start_time=1.0, stop_time=2.0, tags=["dead time"])
    assert file.invalid_times["start_time"][0] == 1.0


def test_compiled_files_have_seconds():
    metadata = {"channel_locations": [[0, 0]], "fs_Hz": FS}
    with_dead = SpikeData([[1]], length=2000, metadata=metadata | {"dead_time_s": [[0.1, 0.2]]})
    assert _shared(with_dead)["dead_time_s"].tolist() == [[0.1, 0.2]]
    assert set(_shared(SpikeData([[1]], length=2000, metadata=metadata))) == {"locations", "fs"}


def test_the_report_says_and_shades_it(recording):
    assert dict(_recording_facts(recording))["Dead time"].startswith("0.300 s, 15 % of the recording, in 2 periods")
    shown = activity(SpikeData([[1]], length=2000, metadata={"dead_time_s": [[0.1, 0.2]]}))
    assert np.ravel(shown.dead) == pytest.approx([5, 5])


def test_a_sorting_of_spikeinterface_has_it(recording):
    from spikelab.spike_sorting.exchange.formats import spikeinterface

    trains = SimpleNamespace(to_segments=lambda *_: SimpleNamespace(annotate=told.update, set_property=lambda *_: None))
    told: dict[str, Any] = {}
    units = SpikeData([], N=0, length=2000, metadata={"dead_time_s": [[0.1, 0.2]]})
    spikeinterface.sorting_of(SimpleNamespace(recording=recording, trains=trains, units=units, columns=dict))
    assert told == {"dead_time_s": [[0.1, 0.2]]}

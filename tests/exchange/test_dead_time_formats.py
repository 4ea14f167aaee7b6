"""Dead time in what is handed on."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat

from spikelab import SpikeData
from spikelab.spike_sorting.compilation.results import _shared, _write_mat
from spikelab.spike_sorting.data import BinaryRecording, Epoch, Pulses
from spikelab.spike_sorting.exchange.formats.clock import clock_of
from spikelab.spike_sorting.exchange.formats.handoff import Handoff
from spikelab.spike_sorting.exchange.formats.nwb import _add_dead_time, write_nwb
from spikelab.spike_sorting.exchange.formats.phy import _record
from spikelab.spike_sorting.report._content import _recording_facts
from spikelab.spike_sorting.report._plots import activity

FS = 1000.0
DEAD = np.array([[100, 200], [900, 1100]])
PULSES = Pulses(np.array([500, 1200, 1300]), np.array([1, 0, 1]), ("A", "B"))


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
    assert told.pop("dead_time_s") == [[0.1, 0.2]]
    assert told == {"segment_dead_time_s": [[[0.1, 0.2], [0.9, 1.0]], [[0.0, 0.1]]]}
    told.clear()
    units = SpikeData([], N=0, length=2000, metadata={"stim_times_s": [0.5, 1.2, 1.3], "stim_sites": ["B", "A", "B"]})
    recording = replace(recording, pulses=PULSES)
    spikeinterface.sorting_of(SimpleNamespace(recording=recording, trains=trains, units=units, columns=dict))
    assert told["segment_stim_times_s"] == [[0.5], [0.2, 0.3]]
    assert told["segment_stim_sites"] == [["B"], ["A", "B"]]
    assert told["stim_times_s"] == [0.5, 1.2, 1.3]


def test_nwb_has_pulses_and_units_were_observed_in_live_time(recording, tmp_path):
    pynwb = pytest.importorskip("pynwb")
    spikes = np.array([10, 300, 1200])
    unit = {"unit_id": 4, "spike_train_samples": spikes, "template_full": np.zeros((5, 1)), "channel": 0}
    units = SpikeData(
        [spikes / FS * 1000], length=2000, neuron_attributes=[unit], metadata={"template_full_peak_ind": 2}
    )
    write_nwb(Handoff(units, replace(recording, pulses=PULSES)), tmp_path / "a.nwb")
    with pynwb.NWBHDF5IO(tmp_path / "a.nwb", "r") as io:
        file = io.read()
        pulses = file.intervals["stimulation_pulses"].to_dataframe()
        observed = file.units["obs_intervals"][0]
    assert np.ravel(observed) == pytest.approx([5.0, 5.1, 5.2, 5.9, 50.1, 51.0])
    assert pulses["start_time"].tolist() == pytest.approx([5.5, 50.2, 50.3])
    assert pulses["site"].tolist() == ["B", "A", "B"]
    assert (pulses["stop_time"] - pulses["start_time"]).tolist() == pytest.approx([1 / FS] * 3)


def test_compiled_files_have_pulses(tmp_path):
    about = {"channel_locations": [[0, 0]], "fs_Hz": FS, "stim_times_s": [0.1, 0.5], "stim_sites": ["one", "another"]}
    shared = _shared(SpikeData([[1]], length=2000, metadata=about))
    _write_mat(tmp_path / "a.mat", [], shared)
    read = loadmat(tmp_path / "a.mat", simplify_cells=True)
    assert read["stim_times_s"].tolist() == [0.1, 0.5]
    assert read["stim_sites"].tolist() == ["one", "another"]
    np.savez(tmp_path / "a.npz", **shared)
    with np.load(tmp_path / "a.npz") as kept:  # without pickle
        assert kept["stim_sites"].tolist() == ["one", "another"]


def test_phy_has_pulses_beside_dead_time(recording):
    units = SpikeData([], N=0, length=2000)
    record = _record(Handoff(units, replace(recording, pulses=PULSES)), "curated", None, [])
    assert record["dead_time"] == DEAD.tolist()
    assert record["pulses"] == {"frames": [500, 1200, 1300], "sites": [1, 0, 1], "names": ["A", "B"]}
    assert "pulses" not in _record(Handoff(units, recording), "curated", None, [])

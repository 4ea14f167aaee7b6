"""Exports carry the clock of the source, and what has no place for it keeps frames and says the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import simulate
from spikelab import SpikeData
from spikelab.spike_sorting import export_results, import_curation, sort_recording
from spikelab.spike_sorting.data import BinaryRecording, Epoch
from spikelab.spike_sorting.exchange.formats.clock import clock_of

pynwb = pytest.importorskip("pynwb")

FS = 20_000.0
START = datetime(2024, 3, 1, 9, tzinfo=timezone(timedelta(hours=-5)))


@pytest.fixture(scope="module")
def with_a_pause(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results of an NWB file whose timestamps start at 7.5 s and pause for 30 s after 3 s; curated."""
    root = tmp_path_factory.mktemp("pause")
    simulated = simulate(n_units=3, n_channels=4, duration_s=5.0, rate_hz=15.0)
    counts = np.round(simulated.recording.get_traces() / 0.195).astype(np.int16)
    times = np.arange(100_000) / FS + 7.5
    times[60_000:] += 30.0
    file = pynwb.NWBFile("test", "id", START)
    group = file.create_electrode_group("g", "d", "l", file.create_device("probe"))
    for name in ("rel_x", "rel_y"):
        file.add_electrode_column(name, name)
    for i in range(4):
        file.add_electrode(group=group, location="l", rel_x=200.0 * i, rel_y=0.0)
    region = file.create_electrode_table_region(list(range(4)), "all")
    file.add_acquisition(
        pynwb.ecephys.ElectricalSeries(name="es", data=counts, conversion=0.195e-6, electrodes=region, timestamps=times)
    )
    with pynwb.NWBHDF5IO(str(root / "source.nwb"), "w") as io:
        io.write(file)
    with pytest.warns(UserWarning, match="s are missing after"):
        sort_recording(
            [root / "source.nwb"],
            sorter="threshold",
            results_folders=[root / "out"],
            intermediate_folders=[root / "inter"],
            n_jobs=1,
            delete_inter=False,
            create_figures=False,
            spikes_min_first=10,
            spikes_min_second=10,
        )
    return root / "out"


@pytest.fixture
def curated(with_a_pause: Path) -> SpikeData:
    return SpikeData.load(with_a_pause / "sorted_spikedata_curated.npz")


def test_nwb_gets_back_the_session_and_the_times_of_its_source(
    with_a_pause: Path, curated: SpikeData, tmp_path: Path
) -> None:
    path = export_results(with_a_pause, "nwb", tmp_path / "units.nwb", traces=True)
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        assert file.session_start_time == file.timestamps_reference_time == START
        epochs, units = file.epochs.to_dataframe(), file.units.to_dataframe()
        np.testing.assert_allclose(epochs[["start_time", "stop_time"]], [[7.5, 10.5], [40.5, 42.5]])
        # The clock of the sorted recording stays readable.
        np.testing.assert_allclose(epochs["recording_start_time"], [0, 3])
        for unit in range(curated.N):
            np.testing.assert_allclose(units["spike_times"].iloc[unit], curated.times(unit, "file") / 1000)
            np.testing.assert_allclose(units["obs_intervals"].iloc[unit], [[7.5, 10.5], [40.5, 42.5]])
        series = file.processing["ecephys"]["FilteredEphys"]["filtered"]
        assert (series.rate, series.timestamps.shape) == (None, (100_000,))
        np.testing.assert_allclose(series.timestamps[59_998:60_002], [10.4999, 10.49995, 40.5, 40.50005])
    assert pynwb.validate(path=str(path)) == []


def test_the_export_sorts_to_the_same_epochs(with_a_pause: Path, tmp_path: Path) -> None:
    from spikelab.spike_sorting.config import RecordingConfig
    from spikelab.spike_sorting.data import epochs_of
    from spikelab.spike_sorting.recording import open_recording

    path = export_results(with_a_pause, "nwb", tmp_path / "units.nwb", traces=True)
    with pytest.warns(UserWarning, match="s are missing after"):
        epochs = epochs_of(open_recording(path, RecordingConfig(freq_max=4000.0)))
    assert [(epoch.start_frame, epoch.end_frame) for epoch in epochs] == [(0, 60_000), (60_000, 100_000)]
    assert [epoch.clock_start_s for epoch in epochs] == pytest.approx([7.5, 40.5])
    assert {datetime.fromisoformat(epoch.clock_zero) for epoch in epochs} == {START}


def test_a_start_of_the_session_that_a_person_gives_leaves_the_clock_where_it_is(
    with_a_pause: Path, tmp_path: Path
) -> None:
    given = {"session_start_time": "2024-03-01T08:30:00-05:00"}
    path = export_results(with_a_pause, "nwb", tmp_path / "units.nwb", metadata=given)
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        assert file.session_start_time == START - timedelta(minutes=30)
        assert file.timestamps_reference_time == START
        assert file.epochs["start_time"][0] == pytest.approx(7.5)


def test_phy_keeps_frames_and_lists_the_epochs_and_comes_back_with_its_clock(
    with_a_pause: Path, curated: SpikeData, tmp_path: Path
) -> None:
    folder = export_results(with_a_pause, "phy", tmp_path / "phy")
    frames = np.sort(np.concatenate([unit["spike_train_samples"] for unit in curated.neuron_attributes]))
    np.testing.assert_array_equal(np.load(folder / "spike_times.npy").ravel(), frames)
    epochs = json.loads((folder / "spikelab.json").read_text())["epochs"]
    assert [(e["start_frame"], e["end_frame"]) for e in epochs] == [(0, 60_000), (60_000, 100_000)]
    assert [epoch["clock_start_s"] for epoch in epochs] == pytest.approx([7.5, 40.5])
    back = import_curation(with_a_pause, folder)
    assert back.metadata["clock"] == curated.metadata["clock"]


def test_matlab_has_the_clock_in_its_epochs(with_a_pause: Path, tmp_path: Path) -> None:
    from scipy.io import loadmat

    epochs = loadmat(export_results(with_a_pause, "mat", tmp_path / "units.mat"), simplify_cells=True)["epochs"]
    assert [epoch["clock_start_s"] for epoch in epochs] == pytest.approx([7.5, 40.5])
    assert {datetime.fromisoformat(epoch["clock_zero"]) for epoch in epochs} == {START}


@pytest.mark.parametrize("to", ["npz", "h5", "pkl"])
def test_our_own_formats_keep_the_clock(with_a_pause: Path, curated: SpikeData, tmp_path: Path, to: str) -> None:
    loaded = SpikeData.load(export_results(with_a_pause, to, tmp_path / f"units.{to}"))
    for unit in range(curated.N):
        np.testing.assert_array_equal(loaded.times(unit, "file"), curated.times(unit, "file"))


# ---- which clock -----------------------------------------------------------------------------------------------------


@pytest.fixture
def recorded() -> Callable[..., BinaryRecording]:
    """Make a recording of two epochs of 1 s, given (file, start on its clock, zero of that clock) of each."""

    def make(*epochs: tuple[int, float | None, str]) -> BinaryRecording:
        n = 20_000
        return BinaryRecording(
            path=Path("traces.dat"),
            n_samples=n * len(epochs),
            n_channels=1,
            sampling_frequency=FS,
            gain_uv=0.1,
            channel_ids=("0",),
            locations=np.zeros((1, 2)),
            electrodes=None,
            epochs=tuple(
                Epoch(n * k, n * (k + 1), source_index=index, clock_start_s=start, clock_zero=zero)
                for k, (index, start, zero) in enumerate(epochs)
            ),
        )

    return make


FRAMES = np.array([0, 19_999, 20_000, 30_000])
DAY = "2026-03-01T12:00:00+00:00"
NEXT_DAY = "2026-03-02T12:00:00+00:00"


@pytest.mark.parametrize(
    ("epochs", "seconds", "zero"),
    [
        (((0, 5.0, DAY), (0, 36.0, DAY)), [5, 5.99995, 36, 36.5], DAY),
        (((0, 5.0, ""), (0, 36.0, "")), [5, 5.99995, 36, 36.5], None),
        (((0, 5.0, DAY), (1, 5.0, NEXT_DAY)), [5, 5.99995, 86_405, 86_405.5], DAY),
    ],
    ids=["a gap", "no date", "two days"],
)
def test_the_clock_of_the_source(
    recorded: Callable[..., BinaryRecording], epochs: Any, seconds: list[float], zero: str | None
) -> None:
    clock = clock_of(recorded(*epochs))
    assert clock.is_of_source
    np.testing.assert_allclose(clock.seconds(FRAMES), seconds)
    assert clock.zero == (None if zero is None else datetime(2026, 3, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "epochs",
    [
        ((0, None, ""), (0, None, "")),
        ((0, 5.0, DAY), (0, None, "")),
        ((0, 5.0, ""), (1, 5.0, "")),  # two files whose clocks nobody knows
        ((0, 5.0, DAY), (1, 5.0, "")),
        ((0, 5.0, NEXT_DAY), (1, 5.0, DAY)),  # not in the order of time
        ((0, 5.0, DAY), (0, 5.5, DAY)),  # one upon the other
    ],
)
def test_the_clock_of_the_recording_where_that_of_the_source_does_not_fit(
    recorded: Callable[..., BinaryRecording], epochs: Any
) -> None:
    clock = clock_of(recorded(*epochs))
    assert not clock.is_of_source
    np.testing.assert_allclose(clock.seconds(FRAMES), FRAMES / FS)
    assert clock.zero is None


def test_a_clock_that_drifts_is_followed(recorded: Callable[..., BinaryRecording]) -> None:
    recording = recorded((0, 5.0, ""), (0, 36.0, ""))
    first, second = recording.epochs
    drifting = replace(recording, epochs=(first, replace(second, clock_scale=1.01)))
    clock = clock_of(drifting)
    np.testing.assert_allclose(clock.seconds(FRAMES), [5, 5.99995, 36, 36.505])
    np.testing.assert_allclose(clock.intervals(drifting.epochs), [[5, 6], [36, 37.01]])

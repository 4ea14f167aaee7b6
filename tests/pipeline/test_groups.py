"""Groups of channels are sorted on their own, by every sorter, and come back as one result."""

from __future__ import annotations

import csv
import datetime as dt
import json
import logging
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from probeinterface import Probe, ProbeGroup
from spikeinterface.core import NumpyRecording

from simulated import FS, noise_of, save_recording, simulate, simulate_dense, spike_shape
from spikelab import SpikeData
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import GPUOutOfMemoryError, InsufficientActivityError
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.exchange import export_results
from spikelab.spike_sorting.rt_sort import RTSort
from spikelab.spike_sorting.stages import checks

DURATION_S = 6.0
COUNTS_PER_UV = 10  # the step of the file: groups that are sorted alone are written with the same one


def counts_of(traces: Any) -> NumpyRecording:
    counts = np.rint(np.asarray(traces, dtype=np.float64) * COUNTS_PER_UV).astype(np.int16)
    recording = NumpyRecording([counts], FS, channel_ids=[f"ch{i}" for i in range(counts.shape[1])])
    recording.set_channel_gains(1 / COUNTS_PER_UV)
    recording.set_channel_offsets(0.0)
    return recording


def probe_of(places: Any, channels: Any, name: str) -> Probe:
    probe = Probe(ndim=2)
    probe.name = name
    probe.set_contacts(np.asarray(places, float), shapes="circle", shape_params={"radius": 5})
    probe.set_device_channel_indices(np.asarray(channels))
    return probe


def with_probes(traces: Any, *probes: Probe) -> Any:
    group = ProbeGroup()
    for probe in probes:
        group.add_probe(probe)
    recording = counts_of(traces)
    recording.set_probegroup(group, check_overlap=False)
    return recording


@pytest.fixture(scope="module")
def two() -> tuple[np.ndarray, np.ndarray, list[list[np.ndarray]]]:
    """Traces of two arrays in one place, even and odd channels; their places, and the spikes of each."""
    parts = [simulate_dense(duration_s=DURATION_S, seed=seed) for seed in (0, 1)]
    traces = np.empty((round(DURATION_S * FS), 32), dtype=np.float32)
    for offset, part in enumerate(parts):
        traces[:, offset::2] = part.recording.get_traces()
    return traces, parts[0].recording.get_channel_locations(), [part.frames for part in parts]


def overlapping(two: Any) -> Any:
    traces, places, _ = two
    probes = (probe_of(places, np.arange(offset, 32, 2), name) for offset, name in enumerate(("left", "right")))
    return with_probes(traces, *probes)


def sort(recording: Any, folder: Path, sorter: str = "threshold", **settings: Any) -> SpikeData:
    off = dict.fromkeys(["snr_min", "fr_min", "isi_viol_max", "spikes_min_first", "spikes_min_second", "std_norm_max"])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*sorted apart.*")
        warnings.filterwarnings("ignore", ".*does not say where.*")
        (found,) = sort_recording(
            [recording],
            sorter=sorter,
            results_folders=[folder / "out"],
            intermediate_folders=[folder / "inter"],
            **{"n_jobs": 1, **off, **settings},
        )
    return found


def trains_of(sd: SpikeData, group: str | None = None) -> list[list[int]]:
    """Spike trains, in frames, of the units of one group, or of all; in an order of their own."""
    return sorted(u["spike_train_samples"].tolist() for u in sd.neuron_attributes if group in (None, u.get("group")))


def recall(train: Any, frames: np.ndarray) -> float:
    return float((np.abs(np.asarray(train)[:, None] - frames).min(axis=0) <= 5).mean())


@pytest.fixture(scope="module")
def sorted_two(two: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, SpikeData]:
    folder = tmp_path_factory.mktemp("two")
    return folder, sort(overlapping(two), folder)


def test_overlapping_probes_are_sorted_as_if_alone(two: Any, sorted_two: Any, tmp_path: Path) -> None:
    traces, places, truth = two
    _, found = sorted_two
    assert len(set(found.unit_ids)) == found.N
    for offset, group in enumerate(("probe left", "probe right")):
        alone = counts_of(traces[:, offset::2])
        alone.set_dummy_probe_from_locations(places)
        assert trains_of(found, group) == trains_of(sort(alone, tmp_path / group))
        for frames in truth[offset]:
            assert max(recall(train, frames) for train in trains_of(found, group)) > 0.95


def test_units_are_on_channels_of_their_group(sorted_two: Any) -> None:
    _, found = sorted_two
    for unit in found.neuron_attributes:
        assert unit["group"] == ("probe right" if unit["channel"] % 2 else "probe left")
        assert unit["channel_id"] == f"ch{unit['channel']}"
        assert int(unit["sorter_unit_id"]) < 16
    right = min(unit["x"] for unit in found.neuron_attributes if unit["group"] == "probe right")
    left = max(unit["x"] for unit in found.neuron_attributes if unit["group"] == "probe left")
    assert right - left >= 200


def test_group_and_sorters_id_reach_tables_report_and_exports(sorted_two: Any, tmp_path: Path) -> None:
    folder, found = sorted_two
    groups = [unit["group"] for unit in found.neuron_attributes]
    with (folder / "out" / "unit_metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["group"] for row in rows] == groups
    assert [row["sorter_unit_id"] for row in rows] == [unit["sorter_unit_id"] for unit in found.neuron_attributes]
    page = (folder / "out" / "report.html").read_text()
    assert "2 groups of channels: probe left (16), probe right (16)" in page
    assert 'data-label="Group">probe right<' in page
    assert SpikeData.load(folder / "out" / "sorted_spikedata_curated.npz").neuron_attributes[0]["group"] == groups[0]

    export_results(folder / "out", "phy", tmp_path / "phy", traces=False)
    lines = (tmp_path / "phy" / "cluster_channel_group.tsv").read_text().splitlines()
    assert [line.split("\t")[1] for line in lines[1:]] == groups
    assert "probe" not in (tmp_path / "phy" / "cluster_group.tsv").read_text()  # Phy's word: good, mua, noise


def test_groups_are_electrode_groups_of_an_nwb_file(sorted_two: Any, tmp_path: Path) -> None:
    pynwb = pytest.importorskip("pynwb")
    folder, found = sorted_two
    export_results(folder / "out", "nwb", tmp_path / "a.nwb")
    with pynwb.NWBHDF5IO(str(tmp_path / "a.nwb"), "r") as io:
        file = io.read()
        assert set(file.electrode_groups) == {"probe left", "probe right"}
        assert [group.name for group in file.electrodes["group"][:4]] == ["probe left", "probe right"] * 2
        assert list(file.units["group"][:]) == [unit["group"] for unit in found.neuron_attributes]
        assert "sorter_unit_id" in file.units.colnames


def test_finished_sort_is_loaded(two: Any, sorted_two: Any) -> None:
    folder, found = sorted_two
    again = sort(overlapping(two), folder)
    record = json.loads((folder / "out" / "run.json").read_text())
    assert all(stage["loaded"] for stage in record["stages"].values())
    assert [attempt["group"] for attempt in record["attempts"]] == ["probe left", "probe right"]
    assert trains_of(again) == trains_of(found)
    assert again.neuron_attributes[-1]["sorter_unit_id"] == found.neuron_attributes[-1]["sorter_unit_id"]


def test_one_silent_group_does_not_fail_the_sort(two: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    traces, places, truth = two
    quiet = traces.copy()
    quiet[:, ::2] = noise_of(np.random.default_rng(5), (len(traces), 16), 3.0, 0.0)
    with caplog.at_level(logging.INFO):
        found = sort(overlapping((quiet, places, truth)), tmp_path, kilosort_params={"detect_threshold": 7})
    assert {unit["group"] for unit in found.neuron_attributes} == {"probe right"}
    assert {unit["channel"] % 2 for unit in found.neuron_attributes} == {1}
    assert "sorting probe right, group 2 of 2: 16 channels" in caplog.text
    assert "probe left has no units: No sample of" in caplog.text
    again = sort(overlapping((quiet, places, truth)), tmp_path, kilosort_params={"detect_threshold": 7})
    assert trains_of(again) == trains_of(found)


def test_silence_in_all_groups_is_a_failure(two: Any, tmp_path: Path) -> None:
    _, places, truth = two
    noise = noise_of(np.random.default_rng(0), (40_000, 32), 3.0, 0.0)
    with pytest.raises(InsufficientActivityError, match="on 16 channels"):
        sort(overlapping((noise, places, truth)), tmp_path, kilosort_params={"detect_threshold": 8})


def test_smaller_batches_do_not_sort_finished_groups_again(
    two: Any, sorted_two: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sorted_folders = []
    original = ThresholdBackend.sort

    def hungry(self: Any, recording: Any, rec_path: Any, path: Path, folder: Path) -> Any:
        batch = (self.config.sorter.sorter_params or {}).get("radius_um", 200)
        sorted_folders.append((folder.name, batch))
        assert list(folder.iterdir()) == []
        (folder / "left_over").write_text("")
        if folder.name == "group1" and batch > 50:
            raise GPUOutOfMemoryError("full", sorter="threshold")
        return original(self, recording, rec_path, path, folder)

    monkeypatch.setattr(ThresholdBackend, "sort", hungry)
    monkeypatch.setattr(ThresholdBackend, "batch_parameter", "radius_um")
    monkeypatch.setattr(ThresholdBackend, "batch_default", 200)
    found = sort(overlapping(two), tmp_path, resource_retries=2)
    assert sorted_folders == [("group0", 200), ("group1", 200), ("group1", 100), ("group1", 50)]
    assert trains_of(found) == trains_of(sorted_two[1])
    attempts = json.loads((tmp_path / "out" / "run.json").read_text())["attempts"]
    assert [attempt["group"] for attempt in attempts] == ["probe left", *["probe right"] * 3]


def test_room_for_the_copy_of_the_largest_group_is_checked(
    two: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = []
    original = checks.check_disk
    monkeypatch.setattr(
        checks, "check_disk", lambda needs: (needed.append(max(needs.folders.values())), original(needs))[1]
    )
    sort(overlapping(two), tmp_path)
    n_samples = len(two[0])
    assert 2 * n_samples * (32 + 16) in needed  # the recording and a copy of a group, before it is filtered
    assert not list((tmp_path).rglob("group*.dat"))


def test_groups_sorted_together_where_the_user_says_so(two: Any, tmp_path: Path) -> None:
    traces, places, _ = two
    moved = places + np.array([0.0, 20.0])
    recording = with_probes(
        traces, probe_of(places, np.arange(0, 32, 2), "a"), probe_of(moved, np.arange(1, 32, 2), "b")
    )
    found = sort(recording, tmp_path, electrode_groups="together")
    assert not any("group" in unit or "sorter_unit_id" in unit for unit in found.neuron_attributes)
    assert np.ptp(found.metadata["channel_locations"], axis=0).tolist() == [120.0, 140.0]


# ---- the order of what is recorded changes no unit ----


@pytest.mark.parametrize("what", ["channels", "contacts", "probes"])
def test_order_changes_no_unit_but_in_its_number(two: Any, sorted_two: Any, tmp_path: Path, what: str) -> None:
    traces, places, _ = two
    rng = np.random.default_rng(3)
    order, wiring = np.arange(32), [np.arange(0, 32, 2), np.arange(1, 32, 2)]
    names, contacts = ["left", "right"], [np.arange(16), np.arange(16)]
    if what == "channels":
        order = rng.permutation(32)
        wiring = [np.argsort(order)[channels] for channels in wiring]
    elif what == "contacts":
        contacts = [rng.permutation(16) for _ in contacts]
    else:
        wiring, names = wiring[::-1], names[::-1]
    probes = (
        probe_of(places[rows], channels[rows], name)
        for rows, channels, name in zip(contacts, wiring, names, strict=True)
    )
    found = sort(with_probes(traces[:, order], *probes), tmp_path)
    for group in ("probe left", "probe right"):
        assert trains_of(found, group) == trains_of(sorted_two[1], group)


def test_ids_go_on_from_group_to_group() -> None:
    first, second = SpikeTrains.from_dict({3: [10], 7: [20]}), SpikeTrains.from_dict({-2: [30], 0: [5]})
    joined = SpikeTrains.of_groups([(0, first), (2, second)])
    assert joined.unit_ids.tolist() == [3, 7, 8, 10]
    assert joined.groups is not None
    assert joined.groups.tolist() == [0, 0, 2, 2]
    assert joined.sorter_ids == ("3", "7", "-2", "0")
    assert [train.tolist() for train in joined.samples] == [[10], [20], [30], [5]]
    again = SpikeTrains.from_spikeinterface(joined.to_spikeinterface(FS))
    assert (again.unit_ids.tolist(), again.sorter_ids) == (joined.unit_ids.tolist(), joined.sorter_ids)
    with pytest.raises(ValueError, match="2 unit ids but 1 sorter ids"):
        SpikeTrains(first.unit_ids, first.samples, None, ("3",))


def test_what_a_sorter_measured_of_units_stays_with_them(tmp_path: Path) -> None:
    ids, samples = np.array([2, 5]), (np.array([1]), np.array([2, 3]))
    trains = SpikeTrains(ids, samples, measures={"moved_um": np.array([0.0, 12.5]), "size_ratio": np.array([1.0, 1.5])})
    assert {name: values.tolist() for name, values in trains.take(np.array([1])).measures.items()} == {
        "moved_um": [12.5], "size_ratio": [1.5],
    }  # fmt: skip
    trains.save(tmp_path / "trains.npz")
    for again in (
        SpikeTrains.load(tmp_path / "trains.npz"),
        SpikeTrains.from_spikeinterface(trains.to_spikeinterface(FS)),
    ):
        assert {name: values.tolist() for name, values in again.measures.items()} == {
            "moved_um": [0, 12.5], "size_ratio": [1, 1.5],
        }  # fmt: skip
    joined = SpikeTrains.of_groups([(0, SpikeTrains.from_dict({0: [4]})), (1, trains)])
    np.testing.assert_array_equal(joined.measures["moved_um"], [np.nan, 0, 12.5])
    surely = SpikeTrains(ids, samples, measures={"sorter_significance": np.array([4.5, 30.0])})
    surely.save(tmp_path / "surely.npz")
    assert SpikeTrains.load(tmp_path / "surely.npz").measures["sorter_significance"].tolist() == [4.5, 30.0]
    with pytest.raises(ValueError, match="2 unit ids but 1 moved_um"):
        SpikeTrains(ids, samples, measures={"moved_um": np.array([1.0])})


# ---- RT-Sort ----


def test_rt_sort_sorts_groups_and_keeps_an_object_for_each(two: Any, tmp_path: Path) -> None:
    recording = overlapping(two)
    found = sort(recording, tmp_path, "rt_sort", rt_sort_device="cpu")
    for group, truth in zip(("probe left", "probe right"), two[2], strict=True):
        trains = trains_of(found, group)
        assert all(max(recall(train, frames) for train in trains) > 0.9 for frames in truth)
    kept = tmp_path / "out" / "stages" / "sorting"
    for group in ("group0", "group1"):
        assert RTSort.load(kept / group / "rt_sort").n_sequences > 0
        assert (kept / group / "rt_sort.pickle").is_file()
    assert not (tmp_path / "inter").exists()
    sort(recording, tmp_path, "rt_sort", rt_sort_device="cpu")
    stages = json.loads((tmp_path / "out" / "run.json").read_text())["stages"]
    assert stages["sorting"]["loaded"]
    applied = sort(recording, tmp_path / "applied", "rt_sort", rt_sort_model_path=str(kept), rt_sort_device="cpu")
    assert trains_of(applied) == trains_of(found)


# ---- files ----


def write_nwb(path: Path, traces: np.ndarray, places: Any, groups: list[int]) -> Path:
    pynwb = pytest.importorskip("pynwb")
    start = dt.datetime(2024, 3, 1, 9, tzinfo=dt.UTC)
    file = pynwb.NWBFile("groups of electrodes", path.stem, start)
    device = file.create_device("probe")
    made = [file.create_electrode_group(f"g{k}", "some", "cortex", device) for k in range(max(groups) + 1)]
    for name in ("rel_x", "rel_y"):
        file.add_electrode_column(name, "um, from the corner of its group")
    for (x, y), group in zip(np.asarray(places, float).tolist(), groups, strict=True):
        file.add_electrode(group=made[group], location="cortex", rel_x=x, rel_y=y)
    region = file.create_electrode_table_region(list(range(len(groups))), "all")
    counts = np.rint(traces * COUNTS_PER_UV).astype(np.int16)
    series = pynwb.ecephys.ElectricalSeries(
        name="raw", data=counts, conversion=1e-6 / COUNTS_PER_UV, electrodes=region, rate=FS, starting_time=0.0
    )
    file.add_acquisition(series)
    with pynwb.NWBHDF5IO(str(path), "w") as io:
        io.write(file)
    return path


def traces_with(units: dict[int, np.ndarray], n_channels: int, seed: int = 0) -> np.ndarray:
    """Noise of 3 uV, and a spike of 150 uV on the channel of each unit."""
    traces = noise_of(np.random.default_rng(seed), (round(DURATION_S * FS), n_channels), 3.0, 0.0)
    shape = 150 * spike_shape()
    peak = int(np.argmin(shape))
    for channel, frames in units.items():
        for frame in frames:
            traces[frame - peak : frame - peak + len(shape), channel] += shape
    return traces


EVEN = np.arange(1000, round(DURATION_S * FS) - 1000, 2000)


def test_nwb_probes_with_places_relative_to_each_do_not_hide_spikes(tmp_path: Path) -> None:
    places = [[0.0, 40.0 * c] for c in range(8)] + [[0.0, 40.0 * c + 20] for c in range(8)]
    traces = traces_with({2: EVEN, 10: EVEN + 5}, 16)
    found = sort(write_nwb(tmp_path / "a.nwb", traces, places, [0] * 8 + [1] * 8), tmp_path)
    units = {unit["group"]: unit for unit in found.neuron_attributes}
    assert set(units) == {"group g0", "group g1"}
    assert recall(units["group g1"]["spike_train_samples"], EVEN + 5) == 1


def test_nwb_tetrodes_with_places_relative_to_each(tmp_path: Path) -> None:
    places = [[0.0, 0.0], [12.5, 0.0], [0.0, 12.5], [12.5, 12.5]] * 4
    traces = traces_with({1: EVEN, 9: EVEN + 500}, 16)
    found = sort(write_nwb(tmp_path / "a.nwb", traces, places, np.repeat(range(4), 4).tolist()), tmp_path)
    assert {(unit["group"], unit["channel"]) for unit in found.neuron_attributes} == {("group g0", 1), ("group g2", 9)}
    assert found.metadata["channel_locations"][8:12].min(axis=0).tolist() == [2 * 212.5, 0]


def test_nwb_without_known_places(tmp_path: Path) -> None:
    traces = traces_with({1: EVEN, 2: EVEN + 500}, 4)
    found = sort(write_nwb(tmp_path / "a.nwb", traces, np.full((4, 2), np.nan), [0] * 4), tmp_path)
    assert [unit["channel"] for unit in found.neuron_attributes] == [1, 2]
    assert np.diff(found.metadata["channel_locations"][:, 1]).tolist() == [200] * 3


def test_the_order_of_files_changes_no_unit_but_in_its_number(tmp_path: Path) -> None:
    days = [simulate(duration_s=4.0, seed=seed).recording for seed in (0, 1)]
    found = []
    for order in ((0, 1), (1, 0)):
        folder = tmp_path / f"{order[0]}_first"
        for name, day in enumerate(order):
            save_recording(days[day], folder / "days" / str(name))
        results = sort_recording(
            [folder / "days"],
            sorter="threshold",
            results_folders=[folder / "out"],
            intermediate_folders=[folder / "inter"],
            n_jobs=1,
            spikes_min_first=3,
            spikes_min_second=3,
        )
        found.append([results[order.index(day)] for day in (0, 1)])
    for first, second in zip(*found, strict=True):
        places = [
            {unit["y"]: train for unit, train in zip(sd.neuron_attributes, sd.train, strict=True)}
            for sd in (first, second)
        ]
        assert places[0].keys() == places[1].keys()
        for place, train in places[0].items():
            shared = np.intersect1d(np.round(train, 6), np.round(places[1][place], 6))
            assert len(shared) >= 0.98 * max(len(train), len(places[1][place]))

"""Units of other programs: what is read, what is refused, and what comes out of the pipeline."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pytest

from simulated import FS, UNCURATED, Simulated, simulate
from spikelab.spike_sorting import import_sorting
from spikelab.spike_sorting.backends.imported import find_recording, read_units
from spikelab.spike_sorting.backends.imported.clock import trains_of
from spikelab.spike_sorting.backends.imported.deflections import without_deflection
from spikelab.spike_sorting.backends.imported.phy_params import places_of, read_params
from spikelab.spike_sorting.backends.imported.units import ImportedUnits
from spikelab.spike_sorting.config import RecordingConfig
from spikelab.spike_sorting.data import BinaryRecording, Epoch, SpikeTrains
from spikelab.spikedata import SpikeData

pytestmark = pytest.mark.filterwarnings("ignore:The extractor is not serializable")


@pytest.fixture(scope="module")
def small() -> Simulated:
    return simulate(n_units=3, n_channels=4, duration_s=4.0)


def write_kilosort(folder: Path, sim: Simulated, *, dat: str | None = "rec.dat", column: bool = True) -> Path:
    """A folder as Kilosort 2 writes it: counts of 0.5 uV in the file that params.py names."""
    folder.mkdir(parents=True)
    times = np.concatenate(sim.frames)
    order = np.argsort(times, kind="stable")
    clusters = np.repeat(np.arange(len(sim.frames)), [len(train) for train in sim.frames])[order]
    shape = (-1, 1) if column else (-1,)
    np.save(folder / "spike_times.npy", times[order].astype(np.uint64).reshape(shape))
    np.save(folder / "spike_templates.npy", clusters.astype(np.uint32).reshape(shape))
    np.save(folder / "spike_clusters.npy", clusters.astype(np.int32).reshape(shape))
    n = sim.recording.get_num_channels()
    np.save(folder / "channel_map.npy", np.arange(n).reshape(shape))
    np.save(folder / "channel_positions.npy", sim.recording.get_channel_locations())
    lines = [f"n_channels_dat = {n}", "dtype = 'int16'", "offset = 0", "sample_rate = 20000.", "hp_filtered = True"]
    if dat is not None:
        lines.insert(0, f"dat_path = {dat!r}")
    (folder / "params.py").write_text("\n".join(lines) + "\n")
    (folder / "cluster_KSLabel.tsv").write_text("cluster_id\tKSLabel\n0\tgood\n1\tmua\n2\tgood\n7\tmua\n")
    (folder / "cluster_ContamPct.tsv").write_text("cluster_id\tContamPct\n0\t1.5\n1\t80.0\n2\t0.0\n7\t100\n")
    return folder


def write_dat(path: Path, sim: Simulated) -> Path:
    np.round(sim.recording.get_traces() / 0.5).astype(np.int16).tofile(path)
    return path


@pytest.fixture
def folder(tmp_path: Path, small: Simulated) -> Path:
    return write_kilosort(tmp_path / "ks", small)


# Reading


@pytest.mark.parametrize("column", [True, False])
def test_a_kilosort_folder_gives_units_spikes_and_what_it_says_of_them(
    tmp_path: Path, small: Simulated, column: bool
) -> None:
    units = read_units(write_kilosort(tmp_path / "ks", small, column=column))
    assert (units.ids, units.rate, units.n_channels) == (("0", "1", "2"), FS, (4, 4))
    for train, truth in zip(units.times, small.frames, strict=True):
        np.testing.assert_array_equal(train, truth)
    assert units.labels == ("good", "mua", "good")
    assert units.columns["ContamPct"] == (1.5, 80.0, 0.0)
    assert units.empty == ("7",)


def test_without_clusters_units_are_those_of_the_templates(folder: Path) -> None:
    (folder / "spike_clusters.npy").unlink()
    assert read_units(folder).ids == ("0", "1", "2")


def test_what_a_person_decided_goes_before_the_label_of_kilosort(folder: Path) -> None:
    (folder / "cluster_group.tsv").write_text("cluster_id\tgroup\n0\tnoise\n2.0\tgood\n")
    (folder / "cluster_info.tsv").write_text("id\tgroup\tdepth\n0\tgood\t20\n1\tgood\t40\n")
    units = read_units(folder)
    assert units.labels == ("noise", "good", "good")
    assert units.columns["depth"] == (20, 40, None)
    assert units.labelled(["noise"]).ids == ("0",)
    with pytest.raises(ValueError, match="no unit of .* has the label best; there are good, noise"):
        units.labelled(["best"])


def test_tables_may_be_csv_and_a_table_of_something_else_is_told(folder: Path) -> None:
    (folder / "cluster_KSLabel.tsv").unlink()
    (folder / "cluster_groups.csv").write_text("cluster_id,group\n1,good\n")
    (folder / "cluster_notes.csv").write_text("author,day\nme,2\n")
    with pytest.warns(UserWarning, match=r"cluster_notes.csv is left out: its columns are .*expected a table"):
        units = read_units(folder)
    assert units.labels == (None, "good", None)


def test_ids_as_text_are_kept(folder: Path) -> None:
    clusters = np.load(folder / "spike_clusters.npy").ravel()
    np.save(folder / "spike_clusters.npy", np.array(["left", "right", "top"])[clusters])
    units = read_units(folder)
    assert units.ids == ("left", "right", "top")
    assert [len(train) for train in units.times] == [int((clusters == i).sum()) for i in range(3)]


def test_spikes_of_no_cluster_are_left_out_and_told(folder: Path) -> None:
    clusters = np.load(folder / "spike_clusters.npy")
    clusters[clusters == 1] = -1
    np.save(folder / "spike_clusters.npy", clusters)
    with pytest.warns(UserWarning, match=r"\d+ spikes of cluster -1 belong to no unit"):
        assert read_units(folder).ids == ("0", "2")


def damaged(folder: Path, name: str, array: np.ndarray) -> None:
    np.save(folder / name, array, allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("spike_times.npy", np.array([0.5, 1.25]), "holds 0.5; expected frames, which are whole, not seconds"),
        ("spike_times.npy", np.array([np.nan, 2.0]), "expected frames"),
        ("spike_times.npy", np.array([2**64 - 5], dtype=np.uint64), "was a negative time written"),
        ("spike_times.npy", np.zeros((3, 2), dtype=int), r"shape \(3, 2\)"),
        ("spike_times.npy", np.array([object()]), "cannot be read as an array"),
        ("spike_clusters.npy", np.arange(3), "has .* spikes and spike_clusters.npy 3"),
    ],
)
def test_arrays_that_cannot_be_are_refused(folder: Path, name: str, array: np.ndarray, said: str) -> None:
    damaged(folder, name, array)
    with pytest.raises(ValueError, match=said):
        read_units(folder)


def test_a_missing_file_is_named_with_those_there_are(folder: Path) -> None:
    (folder / "spike_times.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no spike_times.npy .*rezToPhy.*it holds channel_map.npy"):
        read_units(folder)


def test_a_folder_of_nothing_is_told_with_where_the_units_may_be(folder: Path) -> None:
    with pytest.raises(
        ValueError, match=r"nothing that units are read from: it holds ks\. Expected .*Did you mean .*ks"
    ):
        read_units(folder.parent)
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        read_units(folder / "nothing")


def test_params_are_parsed_and_never_run(folder: Path, tmp_path: Path) -> None:
    (folder / "params.py").write_text(
        f"open({str(tmp_path / 'harm')!r}, 'w')\ndat_path = ['a.dat', 'b.dat']\nsample_rate = 3e4\nx = len('a')\n"
    )
    params = read_params(folder)
    assert (params.dat_paths, params.sample_rate, params.n_channels) == (("a.dat", "b.dat"), 30_000.0, None)
    assert not (tmp_path / "harm").exists()
    (folder / "params.py").write_text("dat_path = WindowsPath('D:/a/rec.dat')\n")
    assert read_params(folder).dat_paths == ("D:/a/rec.dat",)
    (folder / "params.py").write_text("sample_rate = 'fast'\n")
    with pytest.raises(ValueError, match=r"sample_rate is 'fast'; expected a rate in Hz"):
        read_params(folder)


def spikeinterface_sorting(sim: Simulated, names: list[str]) -> object:
    from spikeinterface.core import NumpySorting

    trains = {name: sim.frames[i] if i < len(sim.frames) else np.empty(0, int) for i, name in enumerate(names)}
    sorting = NumpySorting.from_unit_dict(trains, FS)
    sorting.set_property("quality", np.array(["good", "mua", "noise", "noise"][: len(names)]))
    sorting.set_property("snr", np.array([5.0, np.nan, 3.0, 2.0][: len(names)]))
    return sorting


@pytest.mark.parametrize("form", ["numpy_folder", "zarr", "npz", "json"])
def test_sortings_of_spikeinterface_are_read_in_every_form(tmp_path: Path, small: Simulated, form: str) -> None:
    from spikeinterface.core import NpzSortingExtractor

    sorting = spikeinterface_sorting(small, ["a", "b", "c", "silent"])
    path = tmp_path / {"npz": "s.npz", "json": "s.json", "zarr": "s.zarr"}.get(form, "sorting")
    if form == "npz":
        NpzSortingExtractor.write_sorting(sorting, path)
    elif form == "json":
        sorting.save(folder=tmp_path / "below", format="numpy_folder").dump_to_json(path)
    else:
        sorting.save(folder=path, format=form)
    units = read_units(path)
    assert (units.ids, units.rate, units.empty) == (("a", "b", "c"), FS, ("silent",))
    for train, truth in zip(units.times, small.frames, strict=True):
        np.testing.assert_array_equal(train, truth)
    if form != "npz":  # which holds spikes only
        assert units.labels == ("good", "mua", "noise")
        assert units.columns["snr"] == (5.0, None, 3.0)


def test_a_group_of_channels_is_no_label(tmp_path: Path) -> None:
    from spikeinterface.core import NumpySorting

    sorting = NumpySorting.from_unit_dict({"a": np.array([10, 20]), "b": np.array([5, 50])}, 30_000.0)
    sorting.set_property("group", np.array([0, 1]))
    sorting.set_property("quality", np.array(["good", "mua"]))
    sorting.save(folder=tmp_path / "grouped")
    units = read_units(tmp_path / "grouped")
    assert units.labels == ("good", "mua")
    assert units.columns["group"] == (0, 1)


def test_a_description_that_names_other_code_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "s.json"
    path.write_text(json.dumps({"class": "os.system", "kwargs": {"command": "true"}}))
    with pytest.raises(ValueError, match=r"names 'os.system', which is none of the sortings"):
        read_units(path)


def test_pickled_properties_are_refused_unless_trusted(tmp_path: Path, small: Simulated) -> None:
    spikeinterface_sorting(small, ["a", "b", "c"]).save(folder=tmp_path / "s", format="numpy_folder")
    np.save(tmp_path / "s" / "properties" / "odd.npy", np.array([Path("x"), 1, 2], dtype=object))
    with pytest.raises(ValueError, match="can run any program"):
        read_units(tmp_path / "s")
    assert read_units(tmp_path / "s", trust=True).ids == ("a", "b", "c")


def write_nwb(path: Path, trains: list[np.ndarray]) -> Path:
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile

    nwb = NWBFile("session", "id", datetime(2026, 1, 1, tzinfo=UTC))
    nwb.add_unit_column("unit_name", "name")
    nwb.add_unit_column("quality", "label")
    for i, train in enumerate(trains):
        nwb.add_unit(spike_times=train, unit_name=f"n{i}", quality="good")
    with NWBHDF5IO(path, "w") as io:
        io.write(nwb)
    return path


def test_units_of_nwb_are_read_in_seconds(tmp_path: Path) -> None:
    pytest.importorskip("pynwb")
    units = read_units(write_nwb(tmp_path / "s.nwb", [np.array([0.5, 0.25]), np.array([]), np.array([1.0])]))
    assert (units.ids, units.labels, units.empty) == (("n0", "n2"), ("good", "good"), ("n1",))
    assert units.in_seconds
    assert units.times[0].tolist() == [0.25, 0.5]


# Onto the clock of the recording


def a_binary(
    path: Path,
    fs: float,
    epochs: tuple[Epoch, ...],
    channels: tuple[str, ...],
    locations: np.ndarray,
    gain_uv: float,
    source_format: str = "",
) -> BinaryRecording:
    return BinaryRecording(
        path=path,
        sampling_frequency=fs,
        n_samples=epochs[-1].end_frame,
        n_channels=len(channels),
        gain_uv=gain_uv,
        channel_ids=channels,
        locations=locations,
        electrodes=None,
        epochs=epochs,
        source_format=source_format,
    )


def binary_of(epochs: tuple[Epoch, ...], source_format: str = "", fs: float = 1000.0) -> BinaryRecording:
    return a_binary(Path("x.dat"), fs, epochs, ("0",), np.zeros((1, 2)), 1.0, source_format)


def imported(times: list[np.ndarray], **more: object) -> ImportedUnits:
    return ImportedUnits("units", Path("units"), tuple(map(str, range(len(times)))), tuple(times), **more)  # type: ignore[arg-type]


def test_spikes_follow_the_pieces_that_are_kept() -> None:
    epochs = (Epoch(0, 100, source_start_frame=50), Epoch(100, 150, source_start_frame=400))
    trains = trains_of(imported([np.array([10, 60, 149, 150, 420])]), binary_of(epochs), RecordingConfig())
    assert trains.samples[0].tolist() == [-1, -1, 10, 99, 120]


def test_spikes_of_concatenated_files_are_frames_of_the_concatenation() -> None:
    epochs = (Epoch(0, 100), Epoch(100, 300, source_index=1))
    units = imported([np.array([5, 150])])
    assert trains_of(units, binary_of(epochs), RecordingConfig()).samples[0].tolist() == [5, 150]
    with pytest.raises(ValueError, match="start_time_s cannot be set"):
        trains_of(units, binary_of(epochs), RecordingConfig(start_time_s=1.0))


def test_spikes_of_segments_go_to_their_segments() -> None:
    epochs = (Epoch(0, 100), Epoch(100, 300, source_segment=1))
    units = imported([np.array([5, 5])], segments=(np.array([0, 1]),))
    assert trains_of(units, binary_of(epochs), RecordingConfig()).samples[0].tolist() == [5, 105]
    with pytest.raises(ValueError, match="spikes in 2 segments, and the recording has 1"):
        trains_of(units, binary_of(epochs[:1]), RecordingConfig())


def test_seconds_are_those_of_the_session_where_the_recording_is_of_the_session() -> None:
    epochs = (Epoch(0, 100, clock_start_s=10.0),)
    units = imported([np.array([10.01, 10.02])])
    assert trains_of(units, binary_of(epochs, "nwb"), RecordingConfig()).samples[0].tolist() == [10, 20]
    units = imported([np.array([0.01, 0.02])])
    assert trains_of(units, binary_of(epochs, "maxwell"), RecordingConfig()).samples[0].tolist() == [10, 20]


# The recording


def test_the_recording_is_found_beside_the_folder_though_its_path_is_of_another_machine(
    tmp_path: Path, small: Simulated
) -> None:
    folder = write_kilosort(tmp_path / "day" / "ks", small, dat=r"D:\data\day\rec.dat")
    there = write_dat(tmp_path / "day" / "rec.dat", small)
    found = find_recording(folder)
    assert found.source == there
    assert found.settings == {"sampling_frequency": 20_000.0, "num_channels": 4, "dtype": "int16"}
    assert found.probe.get_contact_count() == 4
    there.unlink()
    with pytest.raises(FileNotFoundError, match=r"names the recording .*rec.dat', which is neither there nor in"):
        find_recording(folder)


def test_places_of_a_file_do_not_leave_the_folders_above() -> None:
    places = places_of(Path("/a/b/c"), "/x/y/z/rec.dat")
    assert places[0] == Path("/x/y/z/rec.dat")
    assert {place.name for place in places} == {"rec.dat"}
    assert Path("/a/b/c/rec.dat") in places
    assert Path("/a/z/rec.dat") in places


def test_files_with_a_header_are_opened_behind_it(folder: Path, small: Simulated) -> None:
    data = write_dat(folder / "rec.dat", small).read_bytes()
    (folder / "rec.dat").write_bytes(b"HEAD" * 10 + data)
    text = (folder / "params.py").read_text().replace("offset = 0", "offset = 40")
    (folder / "params.py").write_text(text)
    recording = find_recording(folder).source
    np.testing.assert_allclose(recording.get_traces() * 0.5, small.recording.get_traces(), atol=0.26)
    np.testing.assert_allclose(recording.get_channel_locations(), small.recording.get_channel_locations())


def test_a_recording_that_is_not_named_has_to_be_given(tmp_path: Path, small: Simulated) -> None:
    with pytest.raises(ValueError, match=r"names no recording in params.py; give it: --recording FILE"):
        find_recording(write_kilosort(tmp_path / "ks", small, dat=None))
    spikeinterface_sorting(small, ["a", "b", "c"]).save(folder=tmp_path / "s", format="numpy_folder")
    with pytest.raises(ValueError, match="does not say which recording"):
        find_recording(tmp_path / "s")


def test_an_analyzer_names_its_recording(tmp_path: Path, small: Simulated) -> None:
    from spikeinterface.core import BinaryRecordingExtractor, create_sorting_analyzer

    (tmp_path / "rec").mkdir()
    small.recording.get_traces().tofile(tmp_path / "rec" / "traces.raw")
    saved = BinaryRecordingExtractor(tmp_path / "rec" / "traces.raw", FS, "float32", num_channels=4)
    saved.set_dummy_probe_from_locations(small.recording.get_channel_locations())
    for form, name in (("binary_folder", "an"), ("zarr", "an.zarr")):
        create_sorting_analyzer(
            spikeinterface_sorting(small, ["a", "b", "c"]), saved, format=form, folder=tmp_path / name, sparse=False
        )
        assert read_units(tmp_path / name).ids == ("a", "b", "c")
        recording = find_recording(tmp_path / name).source
        np.testing.assert_array_equal(recording.get_traces(), small.recording.get_traces())
    shutil.rmtree(tmp_path / "rec")
    with pytest.raises(FileNotFoundError, match="cannot be opened"):
        find_recording(tmp_path / "an")


# Deflections


def test_spikes_beside_the_deflections_are_noticed(tmp_path: Path, small: Simulated) -> None:
    path = write_dat(tmp_path / "x.dat", small)
    n = small.recording.get_num_samples()
    binary = a_binary(path, FS, (Epoch(0, n),), tuple("0123"), small.recording.get_channel_locations(), 0.5)
    right = SpikeTrains.from_dict(dict(enumerate(small.frames)))
    assert without_deflection(right, binary, 0) == ([], 3)
    rng = np.random.default_rng(1)
    wrong = SpikeTrains.from_dict({i: np.sort(rng.integers(100, n - 100, 40)) for i in range(3)})
    flat, seen = without_deflection(wrong, binary, 0)
    assert (len(flat), seen) == (3, 3)


# The pipeline


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, small: Simulated) -> tuple[Path, Path, SpikeData]:
    base = tmp_path_factory.mktemp("imported")
    folder = write_kilosort(base / "ks", small)
    write_dat(folder / "rec.dat", small)
    (sd,) = import_sorting(folder, base / "results", gain_to_uv=0.5, create_figures=False, **UNCURATED)
    return folder, base / "results", sd


def test_imported_units_go_through_the_pipeline_and_keep_what_was_said_of_them(
    done: tuple[Path, Path, SpikeData], small: Simulated
) -> None:
    _, results, sd = done
    assert sd.unit_ids == [0, 1, 2]
    for train, truth in zip(sd.train, small.frames, strict=True):
        assert np.abs(train - truth * 1000 / FS).max() < 0.5
    said = [(unit["sorter_unit_id"], unit["imported_label"], unit["imported_ContamPct"]) for unit in sd.unit_attributes]
    assert said == [("0", "good", 1.5), ("1", "mua", 80.0), ("2", "good", 0.0)]
    sizes = [unit["amplitude"] for unit in sd.unit_attributes]
    assert 100 < sizes[0] < sizes[1] < sizes[2] < 150
    header = (results / "unit_metrics.csv").read_text().splitlines()[0].split(",")
    assert {"sorter_unit_id", "imported_label", "imported_ContamPct"} <= set(header)
    assert SpikeData.load(results / "sorted_spikedata_curated.npz").unit_attributes[1]["imported_label"] == "mua"


def test_the_same_call_does_nothing_and_a_changed_folder_is_noticed(
    done: tuple[Path, Path, SpikeData], caplog: pytest.LogCaptureFixture
) -> None:
    folder, results, _ = done
    settings = {"gain_to_uv": 0.5, "create_figures": False, **UNCURATED}
    caplog.set_level(logging.INFO)
    import_sorting(folder, results, **settings)
    assert "nothing to do" in caplog.text
    table = folder / "cluster_group.tsv"
    table.write_text("cluster_id\tgroup\n1\tgood\n")
    (sd,) = import_sorting(folder, results, **settings)
    table.unlink()
    assert [unit["imported_label"] for unit in sd.unit_attributes] == ["good", "good", "good"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda folder: _params(folder, "sample_rate = 20000.", "sample_rate = 25000."), "sorted at 25000 Hz"),
        (lambda folder: _times(folder, 1_000_000), "it is not the recording that was sorted"),
    ],
)
def test_the_wrong_recording_is_refused(tmp_path: Path, small: Simulated, change: object, said: str) -> None:
    folder = write_kilosort(tmp_path / "ks", small)
    change(folder)  # type: ignore[operator]
    with pytest.raises(ValueError, match=said):
        import_sorting(folder, tmp_path / "results", small.recording, create_figures=False)


def _params(folder: Path, old: str, new: str) -> None:
    path = folder / "params.py"
    path.write_text(path.read_text().replace(old, new))


def _times(folder: Path, shift: int) -> None:
    np.save(folder / "spike_times.npy", np.load(folder / "spike_times.npy") + np.uint64(shift))


def test_a_recording_with_other_channels_or_another_start_is_doubted(tmp_path: Path, small: Simulated) -> None:
    folder = write_kilosort(tmp_path / "ks", small)
    shifted = _random_times(folder, small)
    fewer = small.recording.select_channels(small.recording.channel_ids[:3])
    with (
        pytest.warns(UserWarning, match="sorted on 4 channels, and the recording has 3"),
        pytest.warns(UserWarning, match="the traces show nothing at the spikes of"),
    ):
        import_sorting(shifted, tmp_path / "results", fewer, create_figures=False, **UNCURATED)


def _random_times(folder: Path, sim: Simulated) -> Path:
    times = np.load(folder / "spike_times.npy")
    rng = np.random.default_rng(3)
    np.save(
        folder / "spike_times.npy", np.sort(rng.integers(100, sim.recording.get_num_samples() - 100, times.shape), 0)
    )
    return folder


# The command


def test_the_command_has_two_ways_that_are_told_apart(run: object, folder: Path, tmp_path: Path) -> None:
    for arguments, said in (
        ((folder,), "--to or --from is missing"),
        ((folder, "--from", "phy"), "a second folder is missing"),
        ((folder, folder), "--from is missing"),
        ((folder, folder, "--to", tmp_path / "r"), "--to goes without a second folder"),
        ((folder, "--to", tmp_path / "r", "--from", "phy"), "--to goes without --from phy"),
        ((folder, folder, "--from", "phy", "--set", "snr_min=3"), "--set goes with --to only"),
    ):
        result = run("import", *arguments)  # type: ignore[operator]
        assert result.exit_code == 2
        assert said in result.stderr


def test_the_command_asks_for_the_gain_of_counts(run: object, folder: Path, small: Simulated, tmp_path: Path) -> None:
    write_dat(folder / "rec.dat", small)
    result = run("import", folder, "--to", tmp_path / "r")  # type: ignore[operator]
    assert result.exit_code == 3
    assert "its counts have no gain" in result.stderr
    assert "--set gain_to_uv=" in result.stderr


def test_the_command_finds_finished_results(done: tuple[Path, Path, SpikeData], run: object) -> None:
    folder, results, _ = done
    settings = [part for name in UNCURATED for part in ("--set", f"{name}=none")]
    result = run(
        "import", folder, "--to", results, *settings, "--set", "gain_to_uv=0.5", "--set", "create_figures=false"
    )  # type: ignore[operator]
    assert result.exit_code == 0, result.stderr
    assert "3 of 3" in result.stdout


def test_results_of_another_sort_are_not_replaced(folder: Path, tmp_path: Path) -> None:
    results = tmp_path / "results"
    results.mkdir()
    (results / "run.json").write_text('{"status": "done", "sorter": "rt_sort"}')
    with pytest.raises(ValueError, match="holds results of rt_sort, which an import would replace"):
        import_sorting(folder, results)
    with pytest.raises(ValueError, match="lies in .*, which its import would replace"):
        import_sorting(folder, folder.parent)

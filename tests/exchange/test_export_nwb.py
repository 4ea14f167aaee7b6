"""The file as pynwb, nwbinspector and SpikeInterface read it."""

from __future__ import annotations

import tomllib
from collections.abc import Callable
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from spikeinterface.extractors import read_nwb_recording, read_nwb_sorting

from spikelab import SpikeData
from spikelab.spike_sorting import export_results, sort_recording
from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.spike_sorting.exchange.formats.nwb_metadata import read_metadata
from spikelab.spike_sorting.run.results import Results

pynwb = pytest.importorskip("pynwb")

SUBJECT = {"subject_id": "m1", "species": "Mus musculus", "age": "P30D", "sex": "F", "description": "a mouse"}
METADATA: dict[str, Any] = {
    "session_start_time": "2026-03-01T10:00:00+00:00",
    "experimenter": ["Doe, Jane"],
    "experiment_description": "two days",
    "institution": "here",
    "keywords": ["culture"],
    "location": "CA1",
    "subject": SUBJECT,
}


@pytest.fixture(scope="module")
def exported(sorted_days: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("nwb") / "units.nwb"
    return export_results(sorted_days / "out", "nwb", path, traces=True, metadata=METADATA)


@pytest.fixture
def curated(sorted_days: Path) -> SpikeData:
    return SpikeData.load(sorted_days / "out" / "sorted_spikedata_curated.npz")


def test_units_electrodes_and_epochs(exported: Path, curated: SpikeData) -> None:
    with pynwb.NWBHDF5IO(exported, "r") as io:
        file = io.read()
        units, electrodes = file.units.to_dataframe(), file.electrodes.to_dataframe()
        assert units.index.tolist() == curated.unit_ids
        for unit, row in zip(curated.neuron_attributes, units.itertuples(), strict=True):
            np.testing.assert_allclose(row.spike_times, unit["spike_train_samples"] / 20_000)
            assert row.main_electrode == unit["channel"]
            assert row.snr == pytest.approx(unit["snr"])
            # The electrodes of the waveform are those of the table, in its order.
            assert row.electrodes.index.tolist() == electrodes.index.tolist()
            np.testing.assert_allclose(row.obs_intervals, [[0, 6], [6, 12]])
        np.testing.assert_allclose(electrodes[["rel_x", "rel_y"]], curated.metadata["channel_locations"])
        assert electrodes["channel_name"].tolist() == [f"ch{i}" for i in range(16)]
        epochs = file.epochs.to_dataframe()
        assert epochs["stop_time"].tolist() == [6.0, 12.0]
        assert epochs["source_file"].tolist() == ["day0", "day1"]
        assert file.session_start_time == datetime(2026, 3, 1, 10, tzinfo=UTC)
        assert file.subject.species == "Mus musculus"
        assert file.units.resolution == 1 / 20_000


def test_microvolts_stay_microvolts(exported: Path, sorted_days: Path, curated: SpikeData) -> None:
    with pynwb.NWBHDF5IO(exported, "r") as io:
        file = io.read()
        assert file.units.waveform_unit == "microvolts"
        assert file.units.waveform_rate == 20_000
        assert file.units.waveform_time_before_peak_in_ms == 2.0
        expected = [unit["template_full"] for unit in curated.neuron_attributes]
        np.testing.assert_array_equal(file.units["waveform_mean"][:], expected)
        assert np.abs(file.units["waveform_mean"][:]).max() > 50  # of neurons of 150 microvolts
        stds = Results.open(sorted_days / "out").waveforms
        rows = [stds.unit_ids.tolist().index(unit) for unit in curated.unit_ids]
        np.testing.assert_array_equal(file.units["waveform_sd"][:], stds.template_stds[rows])
        series = file.processing["ecephys"]["FilteredEphys"]["filtered"]
        assert series.unit == "volts"
        recording = Results.open(sorted_days / "out").recording
        volts = series.data[:1000] * series.conversion
        np.testing.assert_allclose(volts * 1e6, recording.read_uv(0, 1000), rtol=1e-5, atol=1e-9)


def test_it_is_valid_and_the_inspector_has_nothing_to_say(exported: Path) -> None:
    inspector = pytest.importorskip("nwbinspector")
    assert pynwb.validate(path=str(exported)) == []
    assert [message.message for message in inspector.inspect_nwbfile(nwbfile_path=str(exported))] == []


def test_without_metadata_only_they_are_missed(sorted_days: Path, tmp_path: Path) -> None:
    inspector = pytest.importorskip("nwbinspector")
    path = export_results(sorted_days / "out", "nwb", tmp_path / "plain.nwb")
    messages = list(inspector.inspect_nwbfile(nwbfile_path=str(path)))
    suggestion = inspector.Importance.BEST_PRACTICE_SUGGESTION.value
    grave = [m.check_function_name for m in messages if m.importance.value > suggestion]
    assert grave == ["check_subject_exists"]
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        assert "modification time" in file.notes
        assert not file.processing


def test_spikeinterface_reads_it_back(exported: Path, sorted_days: Path, curated: SpikeData) -> None:
    sorting = read_nwb_sorting(exported, electrical_series_path="processing/ecephys/FilteredEphys/filtered")
    assert sorting.sampling_frequency == 20_000
    assert sorting.unit_ids.tolist() == curated.unit_ids
    for unit, values in zip(sorting.unit_ids, curated.neuron_attributes, strict=True):
        np.testing.assert_array_equal(sorting.get_unit_spike_train(unit), values["spike_train_samples"])
    recording = read_nwb_recording(exported, electrical_series_path="processing/ecephys/FilteredEphys/filtered")
    ours = Results.open(sorted_days / "out").recording
    np.testing.assert_allclose(
        recording.get_traces(return_in_uV=True)[:500], ours.read_uv(0, 500), rtol=1e-5, atol=1e-3
    )
    np.testing.assert_allclose(recording.get_channel_locations(), ours.locations)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lap = 'x'", r"there is no lap \(did you mean 'lab'\?\)"),
        ("species = 'x'", r"there is no species; write it below \[subject\]"),
        ("[subject]\nname = 'x'", r"there is no subject\.name; there are subject_id"),
        ("[subject]\nlab = 'x'", r"there is no subject\.lab; write it above \[subject\]"),
        ("subject = 'm1'", r"subject is 'm1'; expected a table \[subject\]"),
        ("session_start_time = 10:00:00", r"session_start_time is datetime.time\(10, 0\); expected a date and time"),
        ("session_start_time = '1.3.2026'", r"session_start_time is '1\.3\.2026'; expected .* 2026-03-01T10:00"),
        ("session_start_time = 2026", "session_start_time is 2026; expected a date and time"),
        ("[subject]\nage = 30", "subject.age is 30; expected a duration such as"),
        ("[subject]\nage = 'old'", "subject.age is 'old'; expected a duration such as"),
        ("[subject]\nsex = 'x'", 'subject.sex is .x.; expected "M", "F"'),
        ("[subject]\nweight = 25", "subject.weight is 25; expected a weight with its unit"),
        ("notes = ['a', 'b']", r"notes is \['a', 'b'\]; expected a text"),
        ("keywords = [[1]]", r"keywords is \[\[1\]\]; expected a text"),
        ("lab = true\nlap = 'x'", "lab is True; expected a text.*; there is no lap"),
    ],
)
def test_mistakes_in_the_metadata_are_named(sorted_days: Path, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "about.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=said) as caught:
        export_results(sorted_days / "out", "nwb", tmp_path / "x.nwb", metadata=path)
    assert str(caught.value).startswith(f"{path}: ")
    with pytest.raises(ValueError, match=said):
        export_results(sorted_days / "out", "nwb", tmp_path / "x.nwb", metadata=tomllib.loads(text))
    assert list(tmp_path.iterdir()) == [path]


LOCAL = datetime(2026, 3, 1, 10, 30).astimezone()


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-03-01T10:30:00Z", datetime(2026, 3, 1, 10, 30, tzinfo=UTC)),
        ("2026-03-01T10:30:00+02:00", datetime(2026, 3, 1, 8, 30, tzinfo=UTC)),
        ("2026-03-01T10:30:00", LOCAL),
        ("2026-03-01 10:30:00", LOCAL),
        ("'2026-03-01 10:30'", LOCAL),
        ("2026-03-01", datetime(2026, 3, 1).astimezone()),
        ("'2026-03-01'", datetime(2026, 3, 1).astimezone()),
    ],
)
def test_dates_and_times_of_toml_are_taken(text: str, moment: datetime) -> None:
    given = tomllib.loads(f"session_start_time = {text}\n[subject]\ndate_of_birth = {text}")
    says = pytest.warns(UserWarning, match="without a time of day") if len(text.strip("'")) == 10 else nullcontext()
    with says:
        read = read_metadata(given)
    assert read["session_start_time"] == read["subject"]["date_of_birth"] == moment
    assert read["session_start_time"].tzinfo is not None


def test_metadata_as_people_write_them_are_read_by_pynwb(sorted_days: Path, tmp_path: Path) -> None:
    path = tmp_path / "about.toml"
    path.write_text(
        "Session-Start-Time = 2026-03-01T10:30:00Z\nexperimenter = 'Doe, Jane'\nkeywords = 'culture'\n"
        "related_publications = 'doi:1'\nsession_id = 7\n[Subject]\nsubject_id = 12\nage = '30 days'\nsex = 'female'\n"
        "date_of_birth = 2026-01-30\nweight = '25 g'\n",
        encoding="utf-16",
    )
    with pynwb.NWBHDF5IO(export_results(sorted_days / "out", "nwb", tmp_path / "x.nwb", metadata=path), "r") as io:
        file = io.read()
        assert file.session_start_time == datetime(2026, 3, 1, 10, 30, tzinfo=UTC)
        assert (list(file.experimenter), list(file.keywords), file.session_id) == (["Doe, Jane"], ["culture"], "7")
        assert list(file.related_publications) == ["doi:1"]
        subject = file.subject
        assert (subject.subject_id, subject.age, subject.sex, subject.weight) == ("12", "P30D", "F", "25 g")
        assert subject.date_of_birth == datetime(2026, 1, 30).astimezone()


def test_no_units_are_a_file_without_units(saved: Callable[..., Path], tmp_path: Path) -> None:
    sort_recording([saved(duration_s=3.0)], sorter="threshold", results_folders=[tmp_path / "out"], snr_min=1000)
    path = export_results(tmp_path / "out", "nwb")
    with pynwb.NWBHDF5IO(path, "r") as io:
        file = io.read()
        assert file.units is None
        assert len(file.electrodes) == 8


def test_without_pynwb_the_package_is_named(sorted_days: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pynwb", None)
    with pytest.raises(EnvironmentSortFailure, match='pip install "pynwb>='):
        export_results(sorted_days / "out", "nwb", tmp_path / "x.nwb")

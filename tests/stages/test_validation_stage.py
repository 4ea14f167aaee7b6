"""Validation as an artifact: made once, seeded, without leftovers, and never a reason to lose a sort."""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import save_recording, simulate
from spikelab import SpikeData
from spikelab.spike_sorting import decisions as decided
from spikelab.spike_sorting import export_results, sort_recording, validate_sort
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.data import Validation
from spikelab.spike_sorting.data.validation import ABOUT, INJECTED
from spikelab.spike_sorting.run.results import Results, TracesUnavailableError
from spikelab.spike_sorting.validation import CannotValidateError, Round

SETTINGS: dict[str, Any] = {
    "sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "create_figures": False,
    "delete_inter": False,
}  # fmt: skip


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = simulate(n_units=10, n_channels=20, duration_s=6.0, rate_hz=8.0, noise_uv=6.0).recording
    return save_recording(made, tmp_path_factory.mktemp("recording") / "dish")


def sort(recording: Any, root: Path, **settings: Any) -> SpikeData:
    (found,) = sort_recording(
        [recording], results_folders=[root / "out"], intermediate_folders=[root / "out" / "intermediate"],
        **{**SETTINGS, **settings},
    )  # fmt: skip
    return found


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def artifacts(root: Path) -> dict[str, bytes]:
    """Contents of the artifacts of a validation, without the manifests, which hold times."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted((root / "out" / "stages").glob("validation*/*"))
        if path.name != "manifest.json"
    }


def ran(root: Path) -> set[str]:
    stages = json.loads((root / "out" / "run.json").read_text())["stages"]
    return {name for name, stage in stages.items() if not stage["loaded"]}


def table(root: Path) -> list[dict[str, str]]:
    with (root / "out" / "unit_metrics.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def plain(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results without a validation."""
    root = tmp_path_factory.mktemp("plain")
    sort(recording, root)
    return root


@pytest.fixture(scope="module")
def validated(recording: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Results that were validated at once, with one worker."""
    root = tmp_path_factory.mktemp("validated")
    before = digests(recording)
    sort(recording, root, validate=True)
    assert digests(recording) == before
    return root


@pytest.fixture
def copied(plain: Path, tmp_path: Path) -> Path:
    shutil.copytree(plain, tmp_path / "copy", copy_function=shutil.copy2)
    return tmp_path / "copy"


@pytest.fixture
def sorts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Numbers of the sorts that were done."""
    done: list[int] = []
    original = ThresholdBackend.sort

    def counted(self: ThresholdBackend, *args: Any, **kwargs: Any) -> Any:
        done.append(len(done))
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ThresholdBackend, "sort", counted)
    return done


def test_every_unit_has_an_expected_accuracy_in_all_that_is_written(validated: Path, tmp_path: Path) -> None:
    results = Results.open(validated / "out")
    found = results.validation
    assert found is not None
    ids = results.waveforms.unit_ids.tolist()
    assert list(found.units) == ids
    assert found.summary["n_injected"] == len(found.injected) >= 4
    assert tuple(found.injected[0]) == INJECTED
    assert {row["channel"] for row in found.injected} <= set(results.recording.channel_ids)
    for values in found.units.values():
        assert {*ABOUT, "alike"} == set(values)
        assert 0 <= values["stability"] <= 1
        if values["alike"]:
            assert 0 <= values["expected_accuracy_low"] <= values["expected_accuracy"]
            assert values["expected_accuracy"] <= values["expected_accuracy_high"] <= 1

    saved = SpikeData.load(validated / "out" / "sorted_spikedata_curated.npz")
    exported = export_results(validated / "out", "npz", tmp_path / "units.npz")
    for units in (results.units, saved, SpikeData.load(exported)):
        for values in units.unit_attributes:
            expected = found.units[int(values["unit_id"])]
            for name in ABOUT:
                np.testing.assert_equal(values[name], expected[name])
    rows = table(validated)
    assert {int(row["unit_id"]) for row in rows} == set(ids)
    for row in rows:
        for name in ABOUT:
            assert float(row[name]) == pytest.approx(found.units[int(row["unit_id"])][name], nan_ok=True)


def test_the_same_call_does_nothing_again(validated: Path, recording: Path, sorts: list[int]) -> None:
    before = artifacts(validated)
    sort(recording, validated, validate=True)
    assert ran(validated) == set()
    assert sorts == []
    assert artifacts(validated) == before


def test_a_validation_later_is_the_same_and_only_adds(
    copied: Path, validated: Path, recording: Path, sorts: list[int]
) -> None:
    """Nothing is different without `validate`, and a validation of finished results is that made at once."""
    assert not artifacts(copied)
    assert not [name for name in table(copied)[0] if name in ABOUT]
    assert "validat" not in str(sorted(digests(copied)))
    keys = {path: path.read_text() for path in (copied / "out" / "stages").glob("*/manifest.json")}
    sort(recording, copied, validate=True)
    assert sorts == [0]
    assert artifacts(copied) == artifacts(validated)
    for name in ("recording", "sorting", "waveforms"):
        path = copied / "out" / "stages" / name / "manifest.json"
        assert path.read_text() == keys[path]
    assert not (copied / "out" / "intermediate" / "validation").exists()
    sort(recording, copied)  # and is gone again where it is not asked for
    assert not [name for name in table(copied)[0] if name in ABOUT]
    assert Results.open(copied / "out").validation is None


def test_any_number_of_workers_makes_the_same_bytes_and_another_seed_others(
    copied: Path, validated: Path, recording: Path
) -> None:
    sort(recording, copied, validate=True, n_jobs=2)
    assert artifacts(copied) == artifacts(validated)
    sort(recording, copied, validate=True, random_seed=99)
    other = artifacts(copied)
    assert set(other) == set(artifacts(validated))
    assert all(other[name] != value for name, value in artifacts(validated).items())


def test_a_round_that_was_finished_is_loaded(copied: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = copied / "out" / "stages"
    original, n_sorts = ThresholdBackend.sort, []

    def sort_once(self: ThresholdBackend, *args: Any, **kwargs: Any) -> Any:
        n_sorts.append(1)
        if len(n_sorts) == 2:
            raise KeyboardInterrupt
        return original(self, *args, **kwargs)

    monkeypatch.setattr(ThresholdBackend, "sort", sort_once)
    with pytest.raises(KeyboardInterrupt):
        sort(recording, copied, validate=True, validation_rounds=2)
    assert (rounds / "validation_round0").exists()
    assert not (rounds / "validation_round1").exists()
    assert not (copied / "out" / "intermediate" / "validation").exists()
    first = (rounds / "validation_round0" / "round.npz").stat().st_mtime_ns
    sort(recording, copied, validate=True, validation_rounds=2)
    assert len(n_sorts) == 3
    assert (rounds / "validation_round0" / "round.npz").stat().st_mtime_ns == first
    found = Results.open(copied / "out").validation
    assert found is not None
    assert {row["round"] for row in found.injected} == {0, 1}
    sort(recording, copied, validate=True, validation_rounds=1)
    fewer = Results.open(copied / "out").validation
    assert fewer is not None
    assert fewer.summary["rounds"] == 1
    assert {row["round"] for row in fewer.injected} == {0}
    assert len(n_sorts) == 3
    one, other = (Round.load(rounds / f"validation_round{number}") for number in range(2))
    assert not np.array_equal(one.snr, other.snr)


def test_what_fails_in_it_costs_no_sort(copied: Path, recording: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise OSError("no such disk")

    with monkeypatch.context() as patch:
        patch.setattr(ThresholdBackend, "sort", broken)
        assert sort(recording, copied, validate=True).N == 10
    record = json.loads((copied / "out" / "run.json").read_text())
    assert record["status"] == "done"
    assert [text for text in record["warnings"] if text.startswith("the sort could not be validated: ")]
    assert "no such disk" in str(record["warnings"])
    assert not (copied / "out" / "intermediate" / "validation").exists()
    assert "stability" not in table(copied)[0]
    sort(recording, copied, validate=True)
    assert "stability" in table(copied)[0]


def test_too_few_units_are_a_warning_and_for_validate_sort_an_error(tmp_path: Path) -> None:
    recording = save_recording(simulate(n_units=1, n_channels=12, duration_s=4.0).recording, tmp_path / "dish")
    assert sort(recording, tmp_path, validate=True).N == 1
    record = json.loads((tmp_path / "out" / "run.json").read_text())
    assert record["status"] == "done"
    assert "needs at least 2 units that can lend their footprints" in str(record["warnings"])
    with pytest.raises(CannotValidateError, match="at least 2 units that can lend .* 1 of 1 are such"):
        validate_sort(tmp_path / "out")


def test_limits_on_it_need_it(copied: Path, recording: Path) -> None:
    limits: dict[str, Any] = {"metric_limits": {"stability": [0.9, None], "expected_accuracy": [0.9, None]}}
    with pytest.raises(ValueError, match=r"which only a validation tells: validate=True \(on the command line --"):
        sort(recording, copied, **limits)
    assert not artifacts(copied)
    assert 5 <= sort(recording, copied, validate=True, **limits).N < 11
    found = Results.open(copied / "out").validation
    assert found is not None
    kept = [
        unit
        for unit, values in found.units.items()
        if values["stability"] >= 0.9 and values["expected_accuracy"] >= 0.9  # what is not known fails
    ]
    saved = SpikeData.load(copied / "out" / "sorted_spikedata_curated.npz")
    assert [int(values["unit_id"]) for values in saved.unit_attributes] == kept


def test_units_that_were_merged_by_hand_are_validated_as_they_are(copied: Path, recording: Path) -> None:
    results = Results.open(copied / "out")
    before = results.trains.unit_ids.tolist()
    first, second = before[:2]
    merged, _ = decided.with_step(results.decisions, {"do": "merge", "units": [first, second]}, results.state)
    decided.write(copied / "out" / decided.FILE, merged)
    sort(recording, copied)
    found = validate_sort(copied / "out")
    ids = Results.open(copied / "out").waveforms.unit_ids.tolist()
    assert list(found.units) == ids
    assert first not in ids
    assert len(ids) == len(before) - 1


# ---- validate_sort ----


def test_finished_results_are_validated(copied: Path, validated: Path, sorts: list[int]) -> None:
    found = validate_sort(copied / "out")
    assert sorts == [0]
    expected = Validation.load(validated / "out" / "stages" / "validation")
    np.testing.assert_equal(found.units, expected.units)
    np.testing.assert_equal(found.injected, expected.injected)
    assert "stability" in table(copied)[0]
    more = validate_sort(copied / "out", units=5, rounds=2)
    assert more.summary["rounds"] == 2
    assert more.summary["n_injected"] <= 10


def test_traces_that_are_gone_are_filtered_again(copied: Path, validated: Path, recording: Path) -> None:
    shutil.rmtree(copied / "out" / "intermediate")
    moved = shutil.copytree(recording, copied / "dish", copy_function=shutil.copy2)
    record = json.loads((copied / "out" / "run.json").read_text())
    record["recording_input"] = "../nowhere"
    (copied / "out" / "run.json").write_text(json.dumps(record))
    with pytest.raises(TracesUnavailableError, match="no recording at"):
        validate_sort(copied / "out")
    found = validate_sort(copied / "out", recording=moved)
    np.testing.assert_equal(found.units, Validation.load(validated / "out" / "stages" / "validation").units)


def test_a_folder_without_results_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no results folder"):
        validate_sort(tmp_path)

"""Duplicates merged after both rounds, and what is recorded of it."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikelab import SpikeData
from spikelab.spike_sorting.config import CurationConfig
from spikelab.spike_sorting.curation import CurationOutcome, curate_two_rounds
from spikelab.spike_sorting.settings.constraints import MERGE_PARAMETERS
from spikelab.system.quoting import from_spreadsheet

FS = 20_000.0
MERGING = CurationConfig(merge_duplicates=True, isi_viol_max=None)


def template(channel: int) -> np.ndarray:
    values = np.zeros((20, 4))
    values[8:12, channel] = [-20, -100, -40, 10]
    return values


def sd_with_twins() -> SpikeData:
    """Units 3 and 8 are one neuron: 8 has half of the spikes of 3, and some of its own; 5 is another; 9 is too few."""
    frames = np.arange(100) * 1_000 + 500
    trains = {
        3: frames,
        5: frames + 300,
        8: np.sort(np.concatenate([frames[::2] + 2, np.arange(20) * 2_000 + 1_000])),
        9: frames[:5],
    }
    attributes = [
        {"unit_id": unit, "snr": snr, "std_norm": 0.2, "x": x, "y": 0.0, "template": template(channel),
         "spike_train_samples": trains[unit]}
        for unit, snr, x, channel in ((3, 20.0, 0.0, 0), (5, 15.0, 10.0, 2), (8, 12.0, 0.0, 0), (9, 20.0, 0.0, 0))
    ]  # fmt: skip
    return SpikeData(
        [train * 1000 / FS for train in trains.values()],
        length=6_000.0,
        neuron_attributes=attributes,
        metadata={"fs_Hz": FS},
    )


def test_it_is_off_by_default() -> None:
    outcome = curate_two_rounds(sd_with_twins(), CurationConfig())
    assert outcome.sd_curated.unit_ids == [3, 5, 8]
    assert outcome.merged == {}
    assert "merges" not in outcome.history


def test_twins_become_one_unit_and_the_evidence_is_kept() -> None:
    outcome = curate_two_rounds(sd_with_twins(), MERGING)
    assert outcome.sd_curated.unit_ids == [3, 5]
    kept = outcome.sd_curated.neuron_attributes[0]
    assert kept["merged_from"] == [8]
    assert len(kept["spike_train_samples"]) == len(outcome.sd_curated.train[0]) == 120
    history = json.loads(json.dumps(outcome.history, allow_nan=False))
    assert history["curations"][-1] == "merge_duplicates"
    assert history["failed"]["merge_duplicates"] == [8]
    assert history["curated_final"] == [3, 5]
    assert history["metrics"]["merge_duplicates"] == {"3": 0, "5": 0, "8": pytest.approx(1.0)}
    (pair,) = history["merges"]
    assert (pair["kept"], pair["other"], pair["merged"]) == (3, 8, True)
    assert pair["n_spikes"] == [100, 70]
    assert pair["n_coincident"] == 50
    assert pair["violation_rate"] == 0.0
    assert pair["similarity"] == pytest.approx(1.0)


def test_a_pair_that_is_refused_is_evidence_too() -> None:
    config = replace(MERGING, merge_duplicates_params={"cosine_threshold": 0.0, "max_violation_rate": 0.0})
    sd = sd_with_twins()
    bursts = sd.train[1] + 1.0  # 5 fires 1 ms after itself: no merge with anything is free of violations
    sd = sd.replace(train=[sd.train[0], np.sort(np.append(sd.train[1], bursts)), sd.train[2], sd.train[3]])
    outcome = curate_two_rounds(sd, config)
    assert outcome.sd_curated.unit_ids == [3, 5]
    refused = [pair for pair in outcome.history["merges"] if not pair["merged"]]
    assert {frozenset((pair["kept"], pair["other"])) for pair in refused} == {frozenset((3, 5))}
    assert refused[0]["violation_rate"] > 0


def test_the_table_says_where_a_unit_went(tmp_path: Path) -> None:
    outcome = curate_two_rounds(sd_with_twins(), MERGING)
    outcome.write_csv(tmp_path / "units.csv", sd_with_twins())
    with (tmp_path / "units.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["unit_id"]: row for row in csv.DictReader(file)}
    assert (rows["8"]["merged_into"], rows["8"]["failed_criterion"], rows["8"]["passed"]) == (
        "3", "merge_duplicates", "False",
    )  # fmt: skip
    assert (rows["3"]["merged_into"], rows["3"]["passed"]) == ("", "True")
    assert rows["9"]["failed_criteria"] == "spike_count"
    assert rows["5"]["x"] == "10.0"


def test_every_criterion_that_a_unit_misses_is_listed() -> None:
    sd = sd_with_twins()
    poor = [{**unit, "snr": np.nan, "std_norm": 3.0} for unit in sd.neuron_attributes]
    rows = curate_two_rounds(sd.replace(neuron_attributes=poor), CurationConfig(fr_min=17.0)).unit_metrics
    assert rows[3]["failed_criterion"] == "spike_count"
    assert rows[3]["failed_criteria"] == ["spike_count", "firing_rate", "snr", "std_norm"]
    assert rows[0]["failed_criteria"] == ["firing_rate", "snr", "std_norm"]
    only_second = curate_two_rounds(sd.replace(neuron_attributes=poor), CurationConfig(curate_first=False)).unit_metrics
    assert only_second[0]["failed_criteria"] == ["std_norm"]


def test_it_is_loaded_as_it_was_saved(tmp_path: Path) -> None:
    sd = sd_with_twins()
    outcome = curate_two_rounds(sd, MERGING)
    outcome.save(tmp_path / "curation.json")
    loaded = CurationOutcome.load(tmp_path / "curation.json", sd)
    assert loaded.sd_curated == outcome.sd_curated
    assert loaded.history == outcome.history
    np.testing.assert_equal(loaded.merged, outcome.merged)
    np.testing.assert_equal(loaded.unit_metrics, outcome.unit_metrics)


def test_the_settings_name_the_parameters_of_the_function() -> None:
    import inspect

    parameters: Any = inspect.signature(SpikeData.curate_by_merge_duplicates).parameters
    assert set(MERGE_PARAMETERS) == set(parameters) - {"sd"}
    for name, check in MERGE_PARAMETERS.items():
        assert check.accepts(parameters[name].default)


def test_names_that_a_spreadsheet_would_run_are_text_in_the_table(tmp_path: Path) -> None:
    sd = sd_with_twins()
    names = ["=cmd|' /C calc'!A0", "@SUM(1+1)", "-2+3", "-7"]
    units = [{**unit, "channel_id": name, "x": -10.0} for unit, name in zip(sd.neuron_attributes, names, strict=True)]
    sd = sd.replace(neuron_attributes=units)
    curate_two_rounds(sd, MERGING).write_csv(tmp_path / "units.csv", sd)
    with (tmp_path / "units.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["channel_id"] for row in rows] == [*("'" + name for name in names[:3]), "-7"]
    assert [from_spreadsheet(row["channel_id"]) for row in rows] == names
    assert {row["x"] for row in rows} == {"-10.0"}


def with_verdicts(verdicts: dict[int, str]) -> SpikeData:
    sd = sd_with_twins()
    said = [
        {**unit, **({"decided": verdicts[unit["unit_id"]]} if unit["unit_id"] in verdicts else {})}
        for unit in sd.unit_attributes
    ]
    return sd.replace(neuron_attributes=said)


@pytest.mark.parametrize(
    ("verdicts", "kept", "merged_into"),
    [
        ({3: "keep"}, [3, 5], {8: 3}),
        ({8: "keep"}, [3, 5, 8], {}),
        ({8: "keep", 9: "keep"}, [3, 5, 8, 9], {}),
        ({3: "drop"}, [5, 8], {}),
        ({5: "drop", 9: "drop"}, [3], {8: 3}),
    ],
)
def test_a_unit_that_is_kept_by_hand_is_merged_into_no_other(
    tmp_path: Path, verdicts: dict[int, str], kept: list[int], merged_into: dict[int, int]
) -> None:
    sd = with_verdicts(verdicts)
    outcome = curate_two_rounds(sd, MERGING)
    assert outcome.sd_curated.unit_ids == kept
    rows = {row["unit_id"]: row for row in outcome.unit_metrics}
    assert {unit: row["merged_into"] for unit, row in rows.items() if row["merged_into"] is not None} == merged_into
    assert [unit for unit, row in rows.items() if row["passed"]] == kept
    dropped = {unit for unit, row in rows.items() if row["failed_criterion"] == "by hand"}
    assert dropped == {unit for unit, verdict in verdicts.items() if verdict == "drop" and unit != 9}
    assert rows[9]["failed_criterion"] == (None if 9 in kept else "spike_count")
    outcome.save(tmp_path / "curation.json")
    loaded = CurationOutcome.load(tmp_path / "curation.json", sd)
    assert loaded.sd_curated == outcome.sd_curated
    assert loaded.history == json.loads(json.dumps(outcome.history))
    assert loaded.n_second == outcome.n_second == 3


def test_a_neuron_inside_a_larger_unit_is_kept_and_its_spikes_are_taken_out(tmp_path: Path) -> None:
    inside, others = np.arange(60) * 1_900 + 500, np.arange(120) * 950 + 900
    trains = [np.sort(np.append(inside, others)), inside]
    waves = [template(0) / 3, template(0)]  # the others are next to nothing
    attributes = [
        {
            "unit_id": unit,
            "snr": snr,
            "std_norm": 0.2,
            "x": 0.0,
            "y": 0.0,
            "template": wave,
            "spike_train_samples": train,
        }
        for unit, snr, wave, train in zip((3, 8), (5.1, 13.0), waves, trains, strict=True)
    ]
    sd = SpikeData(
        [train * 1000 / FS for train in trains], length=6_000.0, neuron_attributes=attributes, metadata={"fs_Hz": FS}
    )
    outcome = curate_two_rounds(sd, MERGING)
    assert outcome.sd_curated.unit_ids == [3, 8]
    (pair,) = outcome.history["merges"]
    assert (pair["verdict"], pair["merged"], pair["taken_from"], pair["n_taken"]) == ("contained", False, 3, 60)
    np.testing.assert_array_equal(outcome.sd_curated.neuron_attributes[0]["spike_train_samples"], others)
    np.testing.assert_array_equal(outcome.sd_curated.neuron_attributes[1]["spike_train_samples"], inside)
    outcome.save(tmp_path / "curation.json")
    assert CurationOutcome.load(tmp_path / "curation.json", sd).sd_curated == outcome.sd_curated

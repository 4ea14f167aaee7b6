from __future__ import annotations

import csv
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikelab import SpikeData
from spikelab.spike_sorting.config import CurationConfig
from spikelab.spike_sorting.curation import CurationOutcome, criteria, curate_two_rounds, histograms, require_epoch

if TYPE_CHECKING:
    from pathlib import Path

LENGTH_MS = 100_000.0


def even(n: int, start: float = 0.0, stop: float = LENGTH_MS) -> np.ndarray:
    """`n` evenly spaced spikes."""
    return start + (np.arange(n) + 0.5) * (stop - start) / max(n, 1)


def with_doublets(n: int, n_violations: int) -> np.ndarray:
    """`n` spikes of which `n_violations` follow another one after 1 ms."""
    base = even(n - n_violations)
    return np.sort(np.concatenate([base, base[:n_violations] + 1.0]))


# unit id -> spikes, snr, std_norm, and what the defaults make of it
UNITS: dict[int, tuple[np.ndarray, float, float, str | None]] = {
    10: (even(29), 10.0, 0.5, "spike_count"),  # one below spikes_min_first
    11: (with_doublets(100, 2), 10.0, 0.5, "isi_violation"),  # 2 %
    12: (with_doublets(100, 1), 10.0, 0.5, None),  # exactly 1 %: passes
    13: (even(60), 4.9, 0.5, "snr"),
    14: (even(60), 5.0, 1.0, None),  # exactly at both thresholds
    15: (even(49), 10.0, 0.5, "spike_count"),  # passes the first round, one below spikes_min_second
    16: (even(60), 10.0, 1.01, "std_norm"),
    17: (even(60), np.nan, 0.5, "snr"),
    18: (even(60), 10.0, np.nan, "std_norm"),
    19: (even(60), 10.0, np.inf, "std_norm"),
}
SURVIVORS = [12, 14]


def sd_of(units: Any = UNITS, metadata: dict[str, Any] | None = None) -> SpikeData:
    return SpikeData(
        [values[0] for values in units.values()],
        length=LENGTH_MS,
        neuron_attributes=[{"unit_id": unit, "snr": v[1], "std_norm": v[2]} for unit, v in units.items()],
        metadata=metadata,
    )


def test_both_rounds_keep_what_meets_every_threshold() -> None:
    outcome = curate_two_rounds(sd_of(), CurationConfig())
    assert outcome.sd_first.unit_ids == [12, 14, 15, 16, 18, 19]
    assert outcome.sd_curated.unit_ids == SURVIVORS
    np.testing.assert_array_equal(outcome.sd_curated.train[1], even(60))


def test_the_arrays_of_a_criterion_cover_the_units_that_reached_it() -> None:
    outcome = curate_two_rounds(sd_of(), CurationConfig())
    assert list(outcome.first) == ["spike_count", "firing_rate", "isi_violation", "snr"]
    assert list(outcome.second) == ["spike_count", "std_norm"]
    assert outcome.first["spike_count"]["unit_ids"].tolist() == list(UNITS)
    assert outcome.first["isi_violation"]["unit_ids"].tolist() == [11, 12, 13, 14, 15, 16, 17, 18, 19]
    assert outcome.first["isi_violation"]["metric"][:2].tolist() == [0.02, 0.01]
    assert outcome.first["snr"]["unit_ids"].tolist() == [12, 13, 14, 15, 16, 17, 18, 19]
    assert outcome.first["snr"]["passed"].tolist() == [True, False, True, True, True, False, True, True]
    assert outcome.second["std_norm"]["unit_ids"].tolist() == [12, 14, 16, 18, 19]
    for result in (*outcome.first.values(), *outcome.second.values()):
        assert len(result["unit_ids"]) == len(result["metric"]) == len(result["passed"])


def test_every_unit_has_every_metric_and_the_criterion_it_failed() -> None:
    rows = {row["unit_id"]: row for row in curate_two_rounds(sd_of(), CurationConfig()).unit_metrics}
    assert {unit: row["failed_criterion"] for unit, row in rows.items()} == {u: v[3] for u, v in UNITS.items()}
    assert rows[10]["failed_round"] == "first"
    assert rows[15]["failed_round"] == "second"
    assert (rows[15]["passed_first"], rows[15]["passed"]) == (True, False)
    assert (rows[10]["spike_count"], rows[10]["firing_rate"]) == (29, 0.29)
    assert rows[11]["isi_violation"] == 0.02
    assert (rows[13]["snr"], rows[16]["std_norm"]) == (4.9, 1.01)
    assert np.isnan(rows[17]["snr"])


@pytest.mark.parametrize(
    ("fields", "kept"),
    [
        ({"curate_first": False}, [11, 12, 13, 14, 17]),
        ({"curate_second": False}, [12, 14, 15, 16, 18, 19]),
        ({"curate_first": False, "curate_second": False}, list(UNITS)),
        ({"spikes_min_first": 61}, [12]),
        ({"spikes_min_first": None, "spikes_min_second": None}, [10, 12, 14, 15]),
        ({"fr_min": 0.7}, [12]),
        ({"isi_viol_max": None}, [11, 12, 14]),
        ({"snr_min": None}, [12, 13, 14, 17]),
        ({"snr_min": 6.0}, [12]),
        ({"spikes_min_second": 49}, [12, 14, 15]),
        ({"std_norm_max": 0.6}, [12]),
        ({"std_norm_max": None}, [12, 14, 16, 18, 19]),
    ],
)
def test_each_threshold_and_switch_has_its_effect(fields: dict[str, Any], kept: list[int]) -> None:
    assert curate_two_rounds(sd_of(), CurationConfig(**fields)).sd_curated.unit_ids == kept


def test_a_round_that_is_off_leaves_no_result() -> None:
    outcome = curate_two_rounds(sd_of(), CurationConfig(curate_first=False))
    assert outcome.first == {}
    assert outcome.sd_first.unit_ids == list(UNITS)


def test_the_method_of_isi_violations_is_used() -> None:
    outcome = curate_two_rounds(sd_of(), CurationConfig(isi_violation_method="hill"))
    # 1 violation, 100 spikes in 100 s: 1 / (2 * 100 * 0.0015) / (100 / 100) = 3.33
    row = next(row for row in outcome.unit_metrics if row["unit_id"] == 12)
    assert row["isi_violation"] == pytest.approx(1 / (2 * 100 * 0.0015))
    assert row["failed_criterion"] == "isi_violation"


EPOCHS = {"rec_chunks_ms": [[0, 50_000], [50_000, 100_000]], "rec_chunks_frames": [[0, 10**6], [10**6, 2 * 10**6]]}
EPOCH_UNITS = {
    0: (even(60, 0, 50_000), 10.0, 0.5, None),  # all in the first epoch
    1: (even(60, 50_000, 100_000), 10.0, 0.5, None),  # all in the second
    2: (even(120), 10.0, 0.5, None),  # half of 120 in each
}


@pytest.mark.parametrize(("epoch", "kept"), [(None, [0, 1, 2]), (0, [0, 2]), (1, [1, 2])])
def test_metrics_of_one_epoch_decide_for_all(epoch: int | None, kept: list[int]) -> None:
    outcome = curate_two_rounds(sd_of(EPOCH_UNITS, EPOCHS), CurationConfig(curation_epoch=epoch))
    assert outcome.sd_curated.unit_ids == kept
    assert outcome.sd_curated.length == LENGTH_MS
    assert len(outcome.sd_curated.train[-1]) == 120
    row = outcome.unit_metrics[2]
    assert (row["spike_count"], row["firing_rate"]) == ((120, 1.2) if epoch is None else (60, 1.2))


@pytest.mark.parametrize(("epoch", "kept"), [(None, [0, 1, 2]), (0, [0]), (1, [2])])
def test_snr_and_std_norm_are_those_of_the_epoch_as_well(epoch: int | None, kept: list[int]) -> None:
    sd = sd_of({unit: (even(120), 10.0, 0.5, None) for unit in range(3)}, EPOCHS)
    per_epoch = {0: ([10.0, 1.0], [0.5, 0.5]), 1: ([10.0, 10.0], [2.0, 2.0]), 2: ([0.0, 10.0], [np.inf, 0.5])}
    sd = sd.replace(
        neuron_attributes=[
            {**unit, "epoch_snr": np.float32(snr), "epoch_std_norm": np.float32(std_norm)}
            for unit, (snr, std_norm) in zip(sd.neuron_attributes, per_epoch.values(), strict=True)
        ]
    )
    outcome = curate_two_rounds(sd, CurationConfig(curation_epoch=epoch))
    assert outcome.sd_curated.unit_ids == kept
    if epoch is not None:
        assert [row["snr"] for row in outcome.unit_metrics] == [snr[epoch] for snr, _ in per_epoch.values()]
        assert [row["std_norm"] for row in outcome.unit_metrics] == [std[epoch] for _, std in per_epoch.values()]
        assert outcome.sd_curated.neuron_attributes[0]["snr"] == 10.0  # the kept units are those of the whole sort


def test_an_epoch_is_required_without_any_data() -> None:
    require_epoch(None, 1)
    require_epoch(1, 2)
    for epoch, n_epochs, message in ((0, 1, "has no epochs"), (2, 2, "there are 2"), (-1, 2, "there are 2")):
        with pytest.raises(ValueError, match=message):
            require_epoch(epoch, n_epochs)


def test_an_interval_across_an_epoch_boundary_is_no_violation() -> None:
    train = np.sort(np.append(even(60), [49_999.8, 50_000.2]))
    units = {0: (train, 10.0, 0.5, None)}
    config = CurationConfig(isi_viol_max=0.0)
    assert curate_two_rounds(sd_of(units), config).sd_curated.N == 0
    assert curate_two_rounds(sd_of(units, EPOCHS), config).sd_curated.N == 1


@pytest.mark.parametrize(
    ("metadata", "epoch", "message"),
    [(None, 0, "has no epochs"), (EPOCHS, 2, "there are 2"), (EPOCHS, -1, "there are 2")],
)
def test_an_epoch_that_is_not_there_is_refused(metadata: Any, epoch: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        curate_two_rounds(sd_of(EPOCH_UNITS, metadata), CurationConfig(curation_epoch=epoch))


@pytest.mark.parametrize(
    "units", [{}, {5: (np.array([7.0]), 0.0, np.inf, None)}, {5: (np.empty(0), np.nan, np.nan, None)}]
)
def test_nothing_left_is_an_outcome_too(units: Any, tmp_path: Path) -> None:
    sd = sd_of(units)
    outcome = curate_two_rounds(sd, CurationConfig())
    assert outcome.sd_first.N == outcome.sd_curated.N == 0
    assert len(outcome.unit_metrics) == len(units)
    outcome.save(tmp_path / "curation.json")
    assert CurationOutcome.load(tmp_path / "curation.json", sd).sd_curated.N == 0


def test_history_names_both_rounds() -> None:
    history = curate_two_rounds(sd_of(), CurationConfig(snr_min=5.0)).history
    assert history["curations"] == [
        "spike_count",
        "firing_rate",
        "isi_violation",
        "snr",
        "spike_count_second",
        "std_norm",
    ]
    assert history["initial"] == list(UNITS)
    assert history["curated_final"] == SURVIVORS
    assert history["failed"]["spike_count"] == [10]
    assert history["failed"]["spike_count_second"] == [15]
    assert history["curation_parameters"]["snr_min"] == 5.0
    json.dumps(history, allow_nan=False)


def test_outcome_survives_json(tmp_path: Path) -> None:
    sd = sd_of()
    outcome = curate_two_rounds(sd, CurationConfig())
    path = tmp_path / "curation.json"
    outcome.save(path)
    json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    loaded = CurationOutcome.load(path, sd)
    assert loaded.sd_first == outcome.sd_first
    assert loaded.sd_curated == outcome.sd_curated
    assert loaded.history == outcome.history
    for saved, read in ((outcome.first, loaded.first), (outcome.second, loaded.second)):
        assert list(saved) == list(read)
        for name in saved:
            for key in ("unit_ids", "metric", "passed"):
                np.testing.assert_array_equal(read[name][key], saved[name][key])  # type: ignore[literal-required]
                assert read[name][key].dtype == saved[name][key].dtype  # type: ignore[literal-required]
    np.testing.assert_equal(loaded.unit_metrics, outcome.unit_metrics)
    assert [file.name for file in tmp_path.iterdir()] == ["curation.json"]


def test_a_record_with_arrays_of_text_and_of_numbers_that_json_lacks_survives(tmp_path: Path) -> None:
    sd = sd_of()
    outcome = curate_two_rounds(sd, CurationConfig())
    odd = {"names": np.array(["a", "b"]), "mixed": np.array([np.nan, "c", np.int64(3)], dtype=object)}
    replace(outcome, history=outcome.history | odd | {"values": np.array([1.0, -np.inf])}).save(tmp_path / "o.json")
    loaded = CurationOutcome.load(tmp_path / "o.json", sd).history
    assert loaded["names"] == ["a", "b"]
    assert loaded["mixed"] == ["nan", "c", 3]
    assert loaded["values"] == [1.0, "-inf"]


def test_the_table_is_written_as_csv(tmp_path: Path) -> None:
    outcome = curate_two_rounds(sd_of(), CurationConfig())
    outcome.write_csv(tmp_path / "units.csv")
    with (tmp_path / "units.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(UNITS)
    assert list(rows[0]) == list(outcome.unit_metrics[0])
    assert (rows[0]["unit_id"], rows[0]["failed_criterion"], rows[0]["passed"]) == ("10", "spike_count", "False")
    assert float(rows[9]["std_norm"]) == np.inf
    assert rows[2]["failed_criterion"] == ""


@settings(max_examples=50, deadline=None)
@given(
    counts=st.lists(st.integers(0, 80), max_size=8),
    snr=st.lists(st.floats(0, 10) | st.just(float("nan")), min_size=8, max_size=8),
    spikes_min=st.none() | st.integers(0, 80),
    snr_min=st.none() | st.floats(0, 10),
)
def test_a_unit_is_kept_exactly_when_it_meets_every_threshold(
    counts: list[int], snr: list[float], spikes_min: int | None, snr_min: float | None
) -> None:
    units = {i: (even(n), snr[i], 0.5, None) for i, n in enumerate(counts)}
    config = CurationConfig(spikes_min_first=spikes_min, snr_min=snr_min, fr_min=None, curate_second=False)
    expected = [i for i, n in enumerate(counts) if n >= (spikes_min or 0) and (snr_min is None or snr[i] >= snr_min)]
    outcome = curate_two_rounds(sd_of(units), config)
    assert outcome.sd_curated.unit_ids == expected
    assert [row["unit_id"] for row in outcome.unit_metrics if row["passed"]] == expected


def test_a_new_criterion_is_one_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here the one on rates: with the setting of another criterion, for want of a field of its own."""

    def curate_by_silence(sd: SpikeData, longest_s: float | None) -> Any:
        silence = np.array([np.diff(train).max() / 1000 for train in sd.train])
        passed = np.full(sd.N, longest_s is None) | (silence <= (longest_s or 0))
        return sd.subset(np.flatnonzero(passed)), {"metric": silence, "passed": passed}

    metric = criteria.Metric("silence", "Longest silence (s)", "silent for {:g} s", curate_by_silence)
    row = criteria.Criterion("std_norm_max", "second", "max", metric)
    monkeypatch.setattr(criteria, "CRITERIA", (*criteria.CRITERIA[:-1], row))
    config = CurationConfig(std_norm_max=1.7)
    outcome = curate_two_rounds(sd_of(), config)
    failed = {unit["unit_id"]: unit["failed_criterion"] for unit in outcome.unit_metrics}
    assert failed == {unit: values[3] for unit, values in UNITS.items()} | dict.fromkeys((16, 18, 19))
    assert set(outcome.second) == {"spike_count", "silence"}
    assert all(unit["silence"] > 0 and "std_norm" not in unit for unit in outcome.unit_metrics)
    outcome.write_csv(tmp_path / "units.csv")
    assert "silence" in (tmp_path / "units.csv").read_text().splitlines()[0].split(",")
    outcome.save(tmp_path / "curation.json")
    again = CurationOutcome.load(tmp_path / "curation.json", sd_of())
    np.testing.assert_array_equal(again.second["silence"]["metric"], outcome.second["silence"]["metric"])
    shown = histograms.metric_histogram(metric, np.array([1.0]), np.array([2.0]), config)
    assert (shown.label, shown.thresholds) == ("Longest silence (s)", [1.7])

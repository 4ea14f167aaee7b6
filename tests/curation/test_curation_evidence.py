"""The preset "evidence", and the units that other thresholds drop although they look right."""

from __future__ import annotations

import csv
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.simulated import save_recording, simulate

from spikelab import SpikeData
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError
from spikelab.spike_sorting.batch.status import job_state
from spikelab.spike_sorting.config import CURATE_BY_EVIDENCE, CurationConfig, SortingPipelineConfig
from spikelab.spike_sorting.curation import curate_two_rounds, doubts, dropped
from spikelab.spike_sorting.curation.dropped import together
from spikelab.spikedata.curation import isi_violations

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

EVIDENCE = SortingPipelineConfig.from_kwargs(**CURATE_BY_EVIDENCE).curation
PEAK = np.array([[0.0, 0.0], [-50.0, -20.0], [10.0, 4.0]], dtype=np.float32)


def unit(unit_id: int, snr: float, significance: float, x: float) -> dict[str, Any]:
    return {
        "unit_id": unit_id, "snr": snr, "significance": significance, "std_norm": 0.3, "x": x, "y": 0.0,
        "template": PEAK,
    }  # fmt: skip


def units() -> SpikeData:
    """A large neuron, one with few spikes, a small one, noise, a ghost of the first, two spikes, a mixture."""
    rng = np.random.default_rng(0)
    slots = np.arange(10.0, 59_990.0, 5.0)

    def fires(n: int) -> Any:
        return np.sort(rng.choice(slots, n, replace=False)) + rng.integers(0, 20) / 20

    large = fires(600)
    ghost = np.sort(rng.choice(large, 25, replace=False)) + 0.05
    pairs = fires(40)
    mixture = np.sort(np.append(pairs, pairs[:20] + 1.0))
    trains = [large, fires(24), fires(200), fires(45), ghost, fires(2), mixture]
    about = [(20, 900), (14, 81), (3.9, 45), (3.1, 0.4), (18, 90), (12, 30), (15, 120)]
    attributes = [unit(10 + k, snr, sure, 500.0 * k) for k, (snr, sure) in enumerate(about)]
    attributes[4] |= {"x": 60.0}
    return SpikeData(trains, length=60_000, neuron_attributes=attributes, metadata={"fs_Hz": 20_000.0})


def test_it_keeps_what_is_no_noise_and_no_ghost() -> None:
    outcome = curate_two_rounds(units(), EVIDENCE)
    assert outcome.sd_curated.unit_ids == [10, 11, 12]
    failed = {row["unit_id"]: row["failed_criterion"] for row in outcome.unit_metrics if not row["passed"]}
    assert failed == {13: "significance", 14: "merge_duplicates", 15: "spike_count", 16: "isi_violation"}
    assert outcome.unit_metrics[4]["merged_into"] == 10
    assert outcome.sd_curated.neuron_attributes[0]["merged_from"] == [14]


def test_the_larger_figure_counts_where_the_sorter_has_one(tmp_path: Path) -> None:
    """Noise that all electrodes share hides a small neuron from the mean of others, and not from whitened templates."""
    sd = units()
    own = [31.0, 32.0, 33.0, 34.0, 35.0, np.nan, 37.0]
    said = [values | {"sorter_significance": sure} for values, sure in zip(sd.neuron_attributes, own, strict=True)]
    said[6] = dict(sd.neuron_attributes[6])  # another sorter found it
    known = sd.replace(neuron_attributes=said)
    assert known.curate_by_significance(8)[1]["metric"].tolist() == [900, 81, 45, 34, 90, 30, 120]
    outcome = curate_two_rounds(known, EVIDENCE)
    assert outcome.sd_curated.unit_ids == [10, 11, 12, 13]
    assert outcome.sd_curated.neuron_attributes[3]["significance"] == 0.4
    outcome.write_csv(tmp_path / "units.csv", known)
    with (tmp_path / "units.csv").open(encoding="utf-8", newline="") as file:
        rows = {int(row["unit_id"]): row for row in csv.DictReader(file)}
    assert [float(rows[unit]["sorter_significance"]) for unit in (10, 13)] == [31, 34]
    assert [float(rows[unit]["significance"]) for unit in (10, 13)] == [900, 34]
    assert rows[16]["sorter_significance"] == ""
    doubted = CurationConfig(spikes_min_first=50, spikes_min_second=None)
    named = {
        row["unit_id"] for doubt in doubts(known, curate_two_rounds(known, doubted), doubted) for row in doubt.rows
    }
    assert 13 in named


def test_the_default_says_what_it_drops_that_looks_right() -> None:
    sd = units()
    outcome = curate_two_rounds(sd, CurationConfig())
    assert outcome.sd_curated.unit_ids == [10]
    few, small = (str(doubt) for doubt in doubts(sd, outcome, CurationConfig()))
    if "snr_min" in few:
        few, small = small, few
    assert few.startswith(
        "1 unit looks right and was dropped by spikes_min_first = 30 and spikes_min_second = 50: unit 11, whose "
        "spike_count is 24. Yet it is more than noise (SNR 14, significance 81"
    )
    assert few.endswith(
        "To keep it, set spikes_min_first=24, spikes_min_second=24, or take the preset evidence "
        "(--set spikes_min_first=24 --set spikes_min_second=24; --preset evidence)"
    )
    assert [doubt.small for doubt in doubts(sd, outcome, CurationConfig())].count(True) == 1
    assert small.startswith("1 small but clean unit was dropped by snr_min = 5: unit 12, whose snr is 3.9. Yet it is")
    assert small.endswith(
        "To keep it, set snr_min=3.9, or take the preset evidence (--set snr_min=3.9; --preset evidence)"
    )


def test_what_was_dropped_is_counted_by_its_cause_and_added_up_over_recordings() -> None:
    config = replace(EVIDENCE, snr_min=5.0)
    one = dropped(curate_two_rounds(units(), config), config)
    assert str(one[0]) == "2 by snr (snr_min: at least 5)"
    assert sorted(map(str, one[1:])) == [
        "1 by isi_violation (isi_viol_max: at most 0.01)",
        "1 by spike_count (spikes_min_first: at least 10)",
        "1 merged into another",
    ]
    twice = together([one, [], one])
    assert sorted(map(str, twice)) == sorted(str(replace(few, count=2 * few.count)) for few in one)
    assert twice[0].brief() == "4 by snr"


def test_what_is_recommended_keeps_them() -> None:
    sd = units()
    config = CurationConfig(snr_min=4.126, fr_min=0.5, std_norm_max=0.2, spikes_min_first=1, spikes_min_second=1)
    found = doubts(sd, curate_two_rounds(sd, config), config)
    assert {row["unit_id"] for doubt in found for row in doubt.rows} == {10, 11, 12, 14}
    for doubt in found:
        kept = curate_two_rounds(sd, replace(config, **doubt.cures())).sd_curated.unit_ids
        assert {row["unit_id"] for row in doubt.rows} <= set(kept)


def test_limits_are_widened_as_far_as_it_takes() -> None:
    sd = units()
    limits = {"x": [501.0, 600.0], "snr": [1.0, None], "std_norm": [None, 0.25]}
    config = CurationConfig(spikes_min_first=1, spikes_min_second=1, snr_min=None, metric_limits=limits)
    (doubt,) = doubts(sd, curate_two_rounds(sd, config), config)
    assert doubt.cures() == {"metric_limits": {"x": [0, 1000], "snr": [1.0, None], "std_norm": [None, 0.3]}}
    text = str(doubt)
    assert (
        "dropped by metric_limits of x, from 501 to 600 and metric_limits of std_norm, at most 0.25: units 10, 11, 12, "
        "14, whose x is 0 to 1e+03 and std_norm is 0.3. "
    ) in text
    typed = """--set 'metric_limits={"x": [0, 1000], "snr": [1.0, null], "std_norm": [null, 0.3]}'"""
    assert "--preset" not in text  # it has no limits of its own
    assert text.endswith(f"To keep them, set metric_limits={doubt.cures()['metric_limits']} ({typed})")
    kept = curate_two_rounds(sd, replace(config, **doubt.cures())).sd_curated.unit_ids
    assert {row["unit_id"] for row in doubt.rows} <= set(kept)


@pytest.mark.parametrize(("snr", "snr_min"), [(2.9, 5.0), (5.0, 8.0)])
def test_a_unit_of_another_size_is_not_called_small_but_clean(snr: float, snr_min: float) -> None:
    sd = units()
    others = sd.replace(neuron_attributes=[unit | {"snr": min(unit["snr"], snr)} for unit in sd.unit_attributes])
    if snr > 3:
        others = others.replace(neuron_attributes=[unit | {"snr": snr} for unit in sd.unit_attributes])
    config = CurationConfig(spikes_min_first=1, spikes_min_second=1, snr_min=snr_min)
    found = doubts(others, curate_two_rounds(others, config), config)
    assert found
    assert not any(doubt.small for doubt in found)


def test_a_ghost_of_a_kept_unit_is_no_loss() -> None:
    sd = units()
    config = CurationConfig(spikes_min_first=None, spikes_min_second=30, snr_min=None)
    named = {row["unit_id"] for doubt in doubts(sd, curate_two_rounds(sd, config), config) for row in doubt.rows}
    assert named == {11}


def test_nothing_is_said_where_significance_is_unknown_or_nothing_was_dropped() -> None:
    sd = units()
    unknown = [{k: v for k, v in values.items() if k != "significance"} for values in sd.neuron_attributes]
    sd_unknown = sd.replace(neuron_attributes=unknown)
    outcome = curate_two_rounds(sd_unknown, CurationConfig())
    assert np.isnan([row["significance"] for row in outcome.unit_metrics]).all()
    assert doubts(sd_unknown, outcome, CurationConfig()) == []
    everything = CurationConfig(curate_first=False, curate_second=False)
    assert doubts(sd, curate_two_rounds(sd, everything), everything) == []
    with pytest.raises(EmptyWaveformMetricsError, match="reextract_waveforms=True"):
        sd_unknown.curate_by_significance()
    assert sd_unknown.curate_by_significance(None)[0].N == sd.N


def test_violations_count_as_far_as_they_are_certain() -> None:
    """Of the probability of at least so many, by the binomial distribution."""
    from scipy.stats import binom

    def train(violations: int, n: int) -> Any:
        times = np.arange(n) * 20.0
        times[1 : 2 * violations : 2] = times[0 : 2 * violations : 2] + 1.0
        return times

    counts = [(0, 30), (1, 30), (2, 30), (30, 3000), (1, 3)]
    sd = SpikeData([train(*count) for count in counts], length=60_001)
    certain = isi_violations(sd, method="certain")
    assert certain[0] == 0
    for fraction, (violations, n) in zip(certain[1:], counts[1:], strict=True):
        assert binom.sf(violations - 1, n, fraction) == pytest.approx(0.05)
    assert sd.curate_by_isi_violations(0.01, method="certain")[1]["passed"].tolist() == [True, True, False, True, False]


def test_the_command_line_knows_the_preset(run: Callable[..., Result]) -> None:
    shown = run("show-config", "--sorter", "rt_sort", "--preset", "evidence", "--set", "significance_min=12")
    assert shown.exit_code == 0
    assert "significance_min = 12" in shown.output
    assert 'isi_violation_method = "certain"' in shown.output
    assert 'snr_min = "none"' in shown.output
    assert 'sorter_name = "rt_sort"' in shown.output
    unknown = run("show-config", "--preset", "rt_sort")
    assert unknown.exit_code != 0
    assert "there is no preset 'rt_sort'" in unknown.output
    assert "evidence; a sorter is chosen with --sorter" in unknown.output
    wrong = run("show-config", "--preset", "evidence", "--set", "significance_min=high")
    assert wrong.exit_code != 0
    assert "'significance_min' must be a number >= 0 or None, got 'high'" in wrong.output


def test_from_a_recording_to_neurons_of_few_spikes(run: Callable[..., Result], tmp_path: Path) -> None:
    """The default drops neurons of 24 spikes, and says so; the preset keeps them, from the stages that are there."""
    recording = save_recording(simulate(n_spikes=24, duration_s=6.0).recording, tmp_path / "culture")
    results = tmp_path / "out"
    common = ("sort", str(recording), "--sorter", "threshold", "--set", "n_jobs=1", "--results", str(results))
    done = run(*common)
    assert done.exit_code == 0
    assert re.search(r"^culture +no unit kept +0 of 5 ", done.output, flags=re.M)
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "5 units look right and were dropped by spikes_min_first = 30 and spikes_min_second = 50: units 0, " in page
    assert "done, no unit kept" in page
    assert "no unit was kept of 5: 5 by spike_count (spikes_min_first: at least 30)." in page
    assert job_state("culture", results).state == "no unit kept"
    assert run(*common, "--preset", "evidence").exit_code == 0
    lines = (results / "unit_metrics.csv").read_text(encoding="utf-8").splitlines()
    rows = [dict(zip(lines[0].split(","), line.split(","), strict=True)) for line in lines[1:]]
    kept = [row for row in rows if row["passed"] == "True"]
    assert len(kept) == 5
    assert all(float(row["significance"]) > 50 for row in kept)
    neurons = SpikeData.load(results / "sorted_spikedata_curated.npz")
    assert [values["significance"] for values in neurons.neuron_attributes] == [
        pytest.approx(float(row["significance"])) for row in kept
    ]
    assert "look right" not in (results / "report.html").read_text(encoding="utf-8")


def test_the_preset_is_keyword_arguments(tmp_path: Path) -> None:
    (neurons,) = sort_recording(
        [simulate(n_spikes=24, duration_s=6.0).recording],
        sorter="threshold",
        results_folders=[tmp_path / "out"],
        intermediate_folders=[tmp_path / "inter"],
        n_jobs=1,
        **CURATE_BY_EVIDENCE,
    )
    assert neurons.N == 5

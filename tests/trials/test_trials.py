"""Settings and sorters tried on known neurons, the sort done again, and what the command line says of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import save_recording, simulate
from spikelab.spike_sorting import curate_results, sort_recording, validate_grid, validate_sort
from spikelab.spike_sorting.backends import registry
from spikelab.spike_sorting.backends.imported.backend import ImportedBackend
from spikelab.spike_sorting.backends.rt_sort import RTSortBackend
from spikelab.spike_sorting.backends.threshold import ThresholdBackend
from spikelab.spike_sorting.config import RT_SORT_MEA, RT_SORT_NEUROPIXELS, SortingPipelineConfig
from spikelab.spike_sorting.data import Geometry
from spikelab.spike_sorting.decisions import FILE, Decisions, state_of, with_step, write
from spikelab.spike_sorting.run.again import job_again, state_to_apply, without_further_sorts
from spikelab.spike_sorting.run.results import Results, TracesUnavailableError
from spikelab.spike_sorting.run.sort_one import context_of
from spikelab.spike_sorting.stages.again import sorts_of
from spikelab.spike_sorting.stages.manifest import Manifest
from spikelab.spike_sorting.stages.validation import apart
from spikelab.spike_sorting.trials.grid import configured
from spikelab.spike_sorting.validation import CannotValidateError

SETTINGS: dict[str, Any] = {
    "sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1, "create_figures": False,
    "delete_inter": False,
}  # fmt: skip
DETECTION = "sorter_params.detect_threshold"


@pytest.fixture(scope="module")
def sorted_once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("trials")
    recording = simulate(n_units=10, n_channels=20, duration_s=6.0, rate_hz=8.0).recording
    sort_recording(
        [save_recording(recording, root / "dish")], results_folders=[root / "out"],
        intermediate_folders=[root / "out" / "intermediate"], **SETTINGS,
    )  # fmt: skip
    return root


@pytest.fixture
def results(sorted_once: Path, tmp_path: Path) -> Path:
    shutil.copytree(sorted_once, tmp_path / "moved", copy_function=shutil.copy2)
    return tmp_path / "moved" / "out"


def without_times(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "trial_" not in str(path) and path.suffix != ".out"
    }


def test_a_threshold_that_no_spike_reaches_is_the_worst_and_the_results_stay(results: Path) -> None:
    before = without_times(results)
    trials = validate_grid(results, {DETECTION: [200, 5]}, units=4)
    assert [trial.settings for trial in trials] == [{DETECTION: 5}, {DETECTION: 200}]
    good, bad = trials
    assert good.error == ""
    assert good.n_injected == 4
    assert 0 < good.accuracy <= 1
    assert good.stability > 0.8
    assert bad.error.startswith("InsufficientActivityError")
    assert np.isnan(bad.accuracy)
    assert without_times(results) == before
    assert validate_grid(results, {DETECTION: [5]}, units=4) == [good]  # loaded: even the time that it took is the same


def test_what_cannot_be_tried_is_told_before_anything_is_sorted(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThresholdBackend, "sort", None)
    with pytest.raises(TypeError, match="Unknown parameter 'nonsense'"):
        validate_grid(results, {"nonsense": [1]})
    with pytest.raises(ValueError, match="nobody"):
        validate_grid(results, {"sorter": ["threshold", "nobody"]})
    with pytest.raises(ValueError, match="no setting of the sorter"):
        validate_grid(results, {"freq_min": [300, 600]})
    with pytest.raises(ValueError, match="no setting of the sorter"):
        validate_grid(results, {"ms_before": [1, 2]})  # the same setting as waveforms_ms_before
    with pytest.raises(ValueError, match="detect_treshold"):
        validate_grid(results, {"sorter_params.detect_treshold": [4]})
    for name in ("rt_sort_params.match_threshold", "kilosort_path", "use_docker"):
        with pytest.raises(ValueError, match=rf"'{name}' is a setting that threshold does not have: it has sorter_par"):
            validate_grid(results, {name: ["x"]})
    several = {"sorter": ["rt_sort", "spikeinterface:tridesclous2"], "rt_sort_params.match_threshold": [15]}
    with pytest.raises(
        ValueError, match=r"tridesclous2 does not have: it has sorter_params, use_docker; parameters be"
    ):
        validate_grid(results, several)
    assert list(results.glob("stages/trial*")) == []


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"rounds": 1.5}, {"units": 2}, {"units": "many"}])
def test_units_and_rounds_are_checked_before_anything_is_written(results: Path, wrong: dict[str, Any]) -> None:
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    (name,) = wrong
    for validate in (validate_sort, partial(validate_grid, grid={DETECTION: [5]})):
        with pytest.raises(ValueError, match=f"'validation_{name}' must be"):
            validate(results, **wrong)  # type: ignore[operator]  # both take them
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_another_sorter_does_not_get_the_parameters_of_this_one(results: Path) -> None:
    binary = Results.open(results).recording
    config = SortingPipelineConfig().override(sorter_name="threshold", sorter_params={"detect_threshold": 6})
    other = configured(config, {"sorter": "rt_sort"}, binary)
    assert (other.sorter.sorter_name, other.sorter.sorter_params) == ("rt_sort", None)
    same = configured(config, {"sorter": "threshold", DETECTION: 4}, binary)
    assert same.sorter.sorter_params == {"detect_threshold": 4}
    params = configured(RT_SORT_MEA, {"rt_sort_params.match_threshold": 15}, binary).rt_sort.params
    assert params == {**(RT_SORT_MEA.rt_sort.params or {}), "match_threshold": 15}


def test_units_of_another_program_are_not_validated(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ImportedBackend(SortingPipelineConfig()).finds_anew() is False
    monkeypatch.setattr(ThresholdBackend, "finds_anew", lambda _: False)
    with pytest.raises(CannotValidateError, match="would not find neurons"):
        validate_sort(results)


def again(results: Path, sort_again: Any, **settings: Any) -> None:
    sort_recording(
        [results.parent / "dish"], results_folders=[results], intermediate_folders=[results / "intermediate"],
        sort_again=sort_again, **settings, **SETTINGS,
    )  # fmt: skip


def test_sorts_with_other_seeds_are_as_many_as_asked_for(
    results: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ThresholdBackend, "takes_seed", True)
    caplog.set_level("INFO")
    again(results, 2)
    units = Results.open(results).units
    assert [unit["agreement"] for unit in units.unit_attributes] == [1.0] * units.N
    assert "agreement" in (results / "unit_metrics.csv").read_text(encoding="utf-8").splitlines()[0]
    assert not (results / "intermediate" / "again").exists()
    assert [f"sorted again: seed {seed}" in caplog.text for seed in (1, 2, 3, 4)] == [False, True, True, False]


@pytest.fixture
def other_sorter(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of a second sorter, which is the threshold detector too."""
    value = "spikelab.spike_sorting.backends.threshold:ThresholdBackend"
    points = {name: EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name in ("threshold", "other")}
    monkeypatch.setattr(registry, "_plugins", lambda: points)
    return "other"


def test_another_sorter_agrees_less(results: Path, other_sorter: str) -> None:
    again(results, [other_sorter], sorter_params={"detect_threshold": 31})
    agreements = [unit["agreement"] for unit in Results.open(results).units.unit_attributes]
    assert all(0 < agreement <= 1 for agreement in agreements)
    assert min(agreements) < 1


def test_the_sorts_own_sorter_gets_another_seed_and_its_own_settings(
    results: Path, other_sorter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThresholdBackend, "takes_seed", True)
    context = context_of(job_again(Results.open(results)), {})
    config = context.config.override(sort_again=[other_sorter, "threshold"], random_seed=2**32 - 1)
    changes = sorts_of(replace(context, config=config), Results.open(results).recording)
    assert changes == [{"sorter_name": "other", "sorter_params": None}, {"random_seed": 0}]


def test_a_sort_that_would_be_the_same_is_refused_before_it_begins(
    results: Path, other_sorter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ThresholdBackend, "sort", None)
    for same in (1, ["threshold"], [other_sorter, "threshold"]):
        with pytest.raises(ValueError, match=r"takes no seed and finds the same .* --again rt_sort"):
            again(results, same)
    monkeypatch.setattr(ThresholdBackend, "takes_seed", True)
    for name in ("threshold", other_sorter):
        with pytest.raises(ValueError, match=f"names '{name}' more than once"):
            again(results, [name, name])


def test_rt_sort_after_another_sorter_has_the_preset_for_the_electrodes(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    context = context_of(job_again(Results.open(results)), {})
    binary = Results.open(results).recording
    column = replace(
        binary, geometry=Geometry.of(np.stack([np.zeros(20), 20.0 * np.arange(20)], axis=1)), sampling_frequency=3e4
    )
    preset = RT_SORT_NEUROPIXELS.rt_sort
    with caplog.at_level("INFO"):
        chosen = configured(context.config, {"sorter": "rt_sort"}, column).rt_sort
        assert (chosen.probe, chosen.params) == ("neuropixels", preset.params)
        assert "rt_sort starts from preset rt_sort_neuropixels (columns of electrodes, 30 kHz)" in caplog.text
        one_more = configured(context.config, {"sorter": "rt_sort", "rt_sort_params.match_threshold": 15}, column)
        assert one_more.rt_sort.params == {**(preset.params or {}), "match_threshold": 15}
        config = context.config.override(sort_again=["rt_sort"])
        (changes,) = sorts_of(replace(context, config=config), column)
        assert (changes["rt_sort_probe"], changes["rt_sort_params"]) == ("neuropixels", preset.params)
    given = {"sorter": "rt_sort", "rt_sort_probe": "mea"}
    assert configured(context.config, given, column).rt_sort == context.config.rt_sort
    assert configured(context.config, {"sorter": "rt_sort"}, binary).rt_sort == RT_SORT_MEA.rt_sort
    set_before = context.config.override(rt_sort_detection_window_s=5.0)
    assert configured(set_before, {"sorter": "rt_sort"}, column).rt_sort == set_before.rt_sort


def test_the_command_line_validates_and_tries(results: Path, run: Callable[..., Any]) -> None:
    told = run("validate", results, "--units", 4, "-q")
    assert told.exit_code == 0, told.output
    assert "of 4 injected neurons were found" in told.output
    assert "expected accuracy" in told.output
    assert "report.html" in told.output
    tried = run("validate", results, "--grid", f"{DETECTION}=[5, 200]", "--units", 4, "-q")
    assert tried.exit_code == 0, tried.output
    rows = [line.split() for line in tried.output.splitlines()]
    assert [next(row[0] for row in rows if row[:1] == [word]) for word in (DETECTION, "5", "200")] == [
        DETECTION,
        "5",
        "200",
    ]
    assert "failed" in tried.output
    for wrong, words in (
        (("--grid", "snr_min=5"), "expected a list of values"),
        (("--grid", "snr_min"), "expected FIELD=VALUE"),
        (("--grid", "nonsense=[1]"), "nonsense"),
    ):
        refused = run("validate", results, *wrong)
        assert refused.exit_code != 0
        assert words in refused.output
    assert run("validate", results, results, "--sorters", "threshold").exit_code == 2


def test_a_further_sort_is_of_the_sorter_that_is_named(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = context_of(job_again(Results.open(results)), {})
    other = apart(context, "again", sorter_name="rt_sort", sorter_params=None)
    assert type(other.backend) is RTSortBackend
    with pytest.raises(ValueError, match="nobody"):
        sort_recording([results.parent / "dish"], sort_again=["nobody"], **SETTINGS)


def test_a_validation_that_is_stopped_leaves_the_results_and_goes_on(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sort, calls = ThresholdBackend.sort, []

    def stopped(self: ThresholdBackend, *args: Any, **kwargs: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sort(self, *args, **kwargs)

    monkeypatch.setattr(ThresholdBackend, "sort", stopped)
    with pytest.raises(KeyboardInterrupt):
        validate_sort(results, rounds=2)
    assert Results.open(results).validation is None
    assert validate_sort(results, rounds=2).summary["rounds"] == 2
    assert len(calls) == 3  # the first round was on disk


def test_traces_are_made_of_no_other_recording(results: Path, tmp_path: Path) -> None:
    shutil.rmtree(results / "intermediate")
    other = save_recording(simulate(n_units=10, n_channels=20, duration_s=6.0, seed=5).recording, tmp_path / "other")
    with pytest.raises(TracesUnavailableError, match="is not the recording that was sorted"):
        validate_sort(results, recording=other)
    assert validate_sort(results).summary["n_injected"] >= 4


def test_units_merged_by_hand_are_validated_anew_and_not_by_the_way(
    results: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    validate_sort(results)
    first, second = Results.open(results).units.unit_ids[:2]
    with monkeypatch.context() as patch:
        patch.setattr(ThresholdBackend, "sort", None)
        decisions = Decisions.on(Results.open(results).trains)
        state = state_of(decisions, Results.open(results).trains, 20_000.0)
        marked, state = with_step(decisions, {"do": "mark", "units": [first], "verdict": "drop"}, state)
        curate_results(results, marked)
        assert Results.open(results).validation is not None  # of the same units
        merged, _ = with_step(marked, {"do": "merge", "units": [first, second]}, state)
        curate_results(results, merged)
    assert Results.open(results).validation is None
    assert "not validated any more" in caplog.text
    assert validate_sort(results).summary["n_injected"] >= 4


def test_limits_on_a_validation_are_left_out_where_units_are_merged_by_hand(
    results: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits = {"expected_accuracy": [0.01, None], "agreement": [0.2, 1], "amplitude": [1, None]}
    with monkeypatch.context() as patch:
        patch.setattr(ThresholdBackend, "takes_seed", True)
        again(results, 1, validate=True, metric_limits=limits)
    opened = Results.open(results)
    first, second = opened.units.unit_ids[:2]
    merged, _ = with_step(opened.decisions, {"do": "merge", "units": [first, second]}, opened.state)
    with monkeypatch.context() as patch:
        patch.setattr(ThresholdBackend, "sort", None)
        (units,) = curate_results(results, merged)
        assert first not in units.unit_ids
        assert "left out: expected_accuracy [0.01, None], agreement [0.2, 1]." in caplog.text
        after = Results.open(results)
        assert (after.record["status"], after.validation) == ("done", None)
        assert after.config.curation.metric_limits == {"amplitude": [1, None]}
        undone = replace(after.decisions, done=0)  # another step goes through, too
        curate_results(results, undone)
    assert validate_sort(results).summary["n_injected"] >= 4
    assert Results.open(results).record["status"] == "done"


def test_decisions_that_a_page_takes_up_do_not_sort(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    validate_sort(results)
    opened = Results.open(results)
    assert state_to_apply(opened) is opened.state
    merged, state = with_step(opened.decisions, {"do": "merge", "units": list(opened.units.unit_ids[:2])}, opened.state)
    write(results / FILE, merged)
    found = state_to_apply(opened)
    assert list(found.units) == list(state.units)
    assert not without_further_sorts(job_again(opened), opened, found).config.validation.validate


def test_how_long_it_takes_is_said_before_and_only_where_something_is_sorted(
    results: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for stage, seconds in (("sorting", 50.0), ("waveforms", 10.0)):
        manifest = Manifest.read(results / "stages" / stage)
        assert manifest is not None
        manifest.usage["wall_s"] = seconds
        manifest.write(results / "stages" / stage)

    def said(call: Callable[[], Any]) -> list[str]:
        caplog.clear()
        with caplog.at_level("INFO"):
            call()
        return [text.partition("about ")[2] for text in caplog.messages if "which takes about" in text]

    assert said(lambda: validate_sort(results)) == ["1 min 00 s"]
    assert said(lambda: validate_sort(results)) == []
    assert said(lambda: validate_sort(results, rounds=3)) == ["2 min 00 s"]
    assert said(lambda: validate_grid(results, {DETECTION: [6]}, rounds=2)) == ["2 min 00 s"]
    assert said(lambda: validate_grid(results, {DETECTION: [6]}, rounds=2)) == []
    given = {"validate": True, "results_folders": [results], "intermediate_folders": [results / "intermediate"]}
    assert said(lambda: sort_recording([results.parent / "dish"], validation_units=5, **given, **SETTINGS)) == [
        "1 min 00 s"
    ]


def test_a_limit_without_its_metric_drops_nothing(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThresholdBackend, "finds_anew", lambda _: False)
    folders: dict[str, Any] = {
        "results_folders": [results], "intermediate_folders": [results / "intermediate"],
    }  # fmt: skip
    limits = {"expected_accuracy": [0.5, None]}
    with pytest.raises(CannotValidateError):
        sort_recording([results.parent / "dish"], validate=True, metric_limits=limits, **folders, **SETTINGS)

"""Metrics of other packages: found, computed, kept, exported; one that is broken costs its own column."""

from __future__ import annotations

import csv
import logging
import sys
from importlib.metadata import EntryPoint
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.simulated import save_recording, simulate

from spikelab import SpikeData
from spikelab.spike_sorting import metrics, sort_recording
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.exchange.export import handoff_of
from spikelab.spike_sorting.metrics import measure, registry, unit_metric
from spikelab.spike_sorting.run.jobs import require_sorter
from spikelab.spike_sorting.run.results import Results
from spikelab.testing.backend_contract import synthetic_recording
from spikelab.testing.metric_contract import check_metric, check_values, synthetic_units

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from click.testing import Result

    from spikelab.spike_sorting.data import BinaryRecording

SETTINGS: dict[str, Any] = {"sorter": "threshold", "spikes_min_first": 5, "spikes_min_second": 5, "n_jobs": 1}


@unit_metric("Median of the intervals.", unit="ms", low=0)
def median_interval(units: SpikeData) -> list[float]:
    return [float(np.median(intervals)) for intervals in units.interspike_intervals()]


@unit_metric("Standard deviation of the main channel.", unit="uV", needs_traces=True, version="2")
def deviation(units: SpikeData, recording: Any) -> np.ndarray:
    traces = recording.read_uv(0, 20_000)
    return traces[:, [unit["channel"] for unit in units.neuron_attributes]].std(axis=0)


@unit_metric("Divides by zero.")
def broken(units: SpikeData) -> list[float]:
    return [1 / 0] * units.N


PACKAGE = {"median_interval": median_interval, "deviation": deviation, "broken": broken, "no_metric": len}


def install(monkeypatch: pytest.MonkeyPatch, **installed: Any) -> None:
    """Make a package with metrics, as an installed one looks to Python."""
    package = ModuleType("some_package")
    for name, metric in installed.items():
        setattr(package, name, metric)
    monkeypatch.setitem(sys.modules, "some_package", package)
    points = [EntryPoint(name, f"some_package:{name}", registry.ENTRY_POINT_GROUP) for name in installed]
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "spikelab.metrics" else [])
    metrics.refresh_metrics()


@pytest.fixture(autouse=True)
def _found_anew() -> Iterator[None]:
    yield
    metrics.refresh_metrics()


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recording(simulate(duration_s=4.0).recording, tmp_path_factory.mktemp("plugin") / "culture")


@pytest.fixture(scope="module")
def results(recording: Path) -> Iterator[Path]:
    """Sort once with all of `PACKAGE` installed."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        install(monkeypatch, **PACKAGE)
        sort_recording([recording], results_folders=[recording.parent / "out"], **SETTINGS)
        yield recording.parent / "out"


def table(results: Path) -> list[dict[str, str]]:
    with (results / "unit_metrics.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_they_are_columns_and_attributes_and_what_is_broken_is_named(results: Path) -> None:
    sd = SpikeData.load(results / "sorted_spikedata_curated.npz")
    rows = {int(row["unit_id"]): row for row in table(results)}
    for unit, intervals in zip(sd.neuron_attributes, sd.interspike_intervals(), strict=True):
        assert unit["median_interval"] == pytest.approx(np.median(intervals))
        assert 5 < unit["deviation"] < 100
        assert float(rows[unit["unit_id"]]["median_interval"]) == unit["median_interval"]
        assert "broken" not in unit
    assert sd.metadata["plugin_metrics"]["deviation"] == {
        "description": "Standard deviation of the main channel.", "unit": "uV", "low": None, "high": None,
        "version": "2", "package": "some_package",
    }  # fmt: skip
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "the metric broken is left out: ZeroDivisionError: division by zero" in page
    assert "the metric no_metric is left out: The metric &#39;no_metric&#39; of the package" in page


def test_they_are_exported_with_what_they_say_of_themselves(results: Path) -> None:
    handoff = handoff_of(Results.open(results), "curated")
    columns = handoff.columns()
    assert len(columns["median_interval"]) == handoff.units.N
    from spikelab.spike_sorting.exchange.formats.nwb import _about_plugins

    assert _about_plugins(handoff)["deviation"] == "Standard deviation of the main channel. [uV]"


def test_only_what_changed_is_computed_again(
    results: Path, recording: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    @unit_metric("Median of the intervals.", unit="ms", low=0, version="2")
    def newer(units: SpikeData) -> list[float]:
        calls.append(units.N)
        return [7.0] * units.N

    install(monkeypatch, deviation=deviation, median_interval=newer)
    caplog.set_level(logging.INFO)
    for _ in range(2):
        (sd,) = sort_recording([recording], results_folders=[results], **SETTINGS)
    assert len(calls) == 1
    assert [unit["median_interval"] for unit in sd.neuron_attributes] == [7.0] * sd.N
    assert "deviation" in sd.neuron_attributes[0]
    (sd,) = sort_recording([recording], results_folders=[results], plugin_metrics=[], **SETTINGS)
    assert "median_interval" not in sd.neuron_attributes[0]
    assert "median_interval" not in table(results)[0]
    assert "median_interval" not in Results.open(results).units.neuron_attributes[0]


def test_limits_decide_and_their_metric_is_in_history_and_report(
    results: Path, recording: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install(monkeypatch, median_interval=median_interval, broken=broken)
    (before,) = sort_recording([recording], results_folders=[results], **SETTINGS)
    values = [unit["median_interval"] for unit in before.neuron_attributes]
    limit, kept = max(values), values.count(max(values))
    assert 0 < kept < before.N
    limits = {"median_interval": [limit, None], "amplitude": [None, 1e6]}
    (sd,) = sort_recording([recording], results_folders=[results], metric_limits=limits, **SETTINGS)
    assert kept == sd.N
    outcome = Results.open(results).curation
    assert outcome.history["curations"][-2:] == ["median_interval", "amplitude"]
    assert [row["failed_round"] for row in outcome.unit_metrics if row["failed_criterion"] == "median_interval"] == (
        ["limits"] * (before.N - kept)
    )
    page = (results / "report.html").read_text(encoding="utf-8")
    assert "Median interval" in page
    assert "at most 1e+06" in page
    with pytest.raises(ValueError, match=r"limits on 'broken', which no unit has.*kept: the same call goes on"):
        sort_recording([recording], results_folders=[results], metric_limits={"broken": [1, None]}, **SETTINGS)


def test_unknown_metrics_are_refused_before_anything_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, median_interval=median_interval)

    def refused(**settings: Any) -> str:
        with pytest.raises(ValueError) as caught:
            require_sorter(SortingPipelineConfig.from_kwargs(sorter_name="threshold", **settings))
        return str(caught.value)

    wrong = refused(metric_limits={"median_intervals": [1, None]})
    assert "no metric (did you mean 'median_interval'?); there are spike_count, firing_rate" in wrong
    assert "si_quality_metrics=True only" in refused(metric_limits={"si_presence_ratio": [0.8, None]})
    typo = refused(metric_limits={"si_presence_rat": [0.8, None]}, si_quality_metrics=True)
    assert "did you mean 'si_presence_ratio'" in typo
    assert "not among 'plugin_metrics'" in refused(metric_limits={"median_interval": [1, None]}, plugin_metrics=[])
    assert "installed: median_interval" in refused(plugin_metrics=["burst"])
    with pytest.raises(ValueError, match="installed: median_interval"):
        sort_recording(["no_such_file.h5"], sorter="threshold", plugin_metrics=["burst"])


def test_limits_on_the_command_line(run: Callable[..., Result]) -> None:
    for text in ('{"amplitude": [30, null]}', '{amplitude = [30, "none"]}'):
        shown = run("show-config", "--sorter", "rt_sort", "--set", f"metric_limits={text}")
        assert shown.exit_code == 0, shown.output
        assert '[curation.metric_limits]\namplitude = [\n    30,\n    "none",\n]' in shown.output


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> tuple[SpikeData, BinaryRecording]:
    recording = synthetic_recording(tmp_path_factory.mktemp("three") / "traces.dat")
    return synthetic_units(recording), recording


@pytest.mark.parametrize(
    ("name", "values", "wrong"),
    [
        ("Burst", lambda units: [1.0] * units.N, "small letters"),
        ("si_burst", lambda units: [1.0] * units.N, "column of this name"),
        ("snr", lambda units: [1.0] * units.N, "column of this name"),
        ("burst", lambda units: [1.0], r"shape \(1,\) for 3 units"),
        ("burst", lambda units: ["a"] * units.N, "expected numbers"),
        ("burst", lambda units: [2.0] * units.N, "2 for a unit, outside of its range from 0 to 1"),
        ("burst", lambda units: np.arange(units.N) / 10, "depends on the order"),
        ("burst", lambda units: units.neuron_attributes[0].pop("snr") and [0.5] * units.N, "changes the units"),
        ("burst", lambda units: [np.diff(train)[0] * 0 for train in units.train], r"of units with \[1, 2"),
    ],
)
def test_the_contract_names_what_is_wrong(
    name: str, values: Callable[[SpikeData], Any], wrong: str, three: tuple[SpikeData, BinaryRecording]
) -> None:
    with pytest.raises(AssertionError, match=wrong):
        check_values(name, unit_metric("Something.", low=0, high=1)(values), *three)


def test_the_contract_names_what_a_metric_lacks(tmp_path: Path) -> None:
    for metric, wrong in (
        (len, "no UnitMetric"), (unit_metric(" ")(len), "description is empty"),
        (unit_metric("x", low=1, high=0)(len), "range is empty"),
        (unit_metric("x", version=2)(len), "version must be a text"),  # type: ignore[arg-type]
    ):  # fmt: skip
        with pytest.raises(AssertionError, match=wrong):
            check_metric("burst", metric, tmp_path)  # type: ignore[arg-type]


def test_the_contract_passes_what_is_right(three: tuple[SpikeData, BinaryRecording], tmp_path: Path) -> None:
    @unit_metric("Median of the intervals, NaN for one spike.", unit="ms", low=0)
    def interval(units: SpikeData) -> list[float]:
        return [float(np.median(i)) if len(i) else np.nan for i in units.interspike_intervals()]

    assert (check_metric("interval", interval, tmp_path) > 100).all()
    assert (check_values("deviation", deviation, *three) > 5).all()


def test_nan_is_not_known(tmp_path: Path) -> None:
    values = measure("burst", unit_metric("x", low=0)(lambda units: [np.nan, 1]), SpikeData([[1.0], [2.0]]), None)
    assert np.isnan(values[0])


def test_a_limit_on_what_the_sorter_does_not_measure_is_no_limit_in_silence(recording: Path, tmp_path: Path) -> None:
    """RT-Sort says of every unit how far it moved, 0 um too; the threshold sorter does not know."""
    with pytest.raises(ValueError, match="limits on 'moved_um', which no unit has.*this sorter does not measure it"):
        sort_recording(
            [recording], results_folders=[tmp_path / "out"], metric_limits={"moved_um": [None, 5]}, **SETTINGS
        )

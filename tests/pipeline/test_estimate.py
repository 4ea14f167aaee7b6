"""What a sort takes, told beforehand from costs that were measured."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks.costs import fit, report
from tests.simulated import save_recording, simulate

from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.run import estimate as _estimate
from spikelab.spike_sorting.run.estimate import (
    Estimate,
    core_seconds,
    costs,
    estimate,
    estimate_lines,
    estimates,
    reference_work,
    rounded,
)
from spikelab.spike_sorting.run.jobs import plan_jobs
from spikelab.spike_sorting.run.parts import parts_of
from spikelab.spike_sorting.run.wanted import Wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from click.testing import Result

COST = {"per_value": 0.1, "per_learnt": 0.4, "learnt_s": 100.0, "channels_power": 0.5}


@pytest.fixture
def _as_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine as fast as the one that the costs were measured on, with four cores."""
    monkeypatch.setattr(_estimate, "machine_factor", lambda: 1.0)
    monkeypatch.setattr(_estimate, "available_cores", lambda: 4)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_recording(simulate(duration_s=4.0).recording, tmp_path_factory.mktemp("estimate") / "culture")


def test_what_is_learnt_from_is_bounded() -> None:
    per_second = 64 * 20_000 / 1e6
    assert core_seconds(COST, 64, 20_000.0, 50.0) == pytest.approx(per_second * 0.5 * 50)
    assert core_seconds(COST, 64, 20_000.0, 1000.0) == pytest.approx(per_second * (0.1 * 1000 + 0.4 * 100))
    assert core_seconds(COST, 256, 20_000.0, 50.0) == pytest.approx(4 * 2 * per_second * 0.5 * 50)


@pytest.mark.usefixtures("_as_measured")
def test_a_sort_is_estimated_by_what_is_kept_and_by_workers(recording: Path) -> None:
    config = SortingPipelineConfig.from_kwargs(sorter_name="threshold", n_jobs=1)
    (part,) = parts_of(recording, Wanted(config, frozenset(["sorter_name", "freq_max"])))
    (job,) = plan_jobs([(recording, config)])
    seen = part.seen
    cost = costs()["sorters"]["threshold"]
    n_channels, seconds = seen.infos[0].n_channels, 4.0
    whole = core_seconds(cost, n_channels, 20_000.0, seconds)

    def work(**changes: Any) -> Estimate:
        config = job.config.override(**changes)
        return estimate(replace(job, config=config), replace(seen, config=config))

    alone = work()
    assert alone.seconds == pytest.approx(costs()["start_s"] + whole)
    assert alone.one_core_s == alone.seconds
    assert alone.disk_bytes > 2 * n_channels * 80_000
    two = work(n_jobs=2)
    assert two.seconds == pytest.approx(costs()["start_s"] + whole * (1 - cost["parallel"] / 2))
    for kept in (
        {"first_n_mins": 1 / 60}, {"start_time_s": 3.0}, {"end_time_s": 1.0}, {"rec_chunks_s": [(1.0, 2.0)]},
        {"rec_chunks": [(0, 20_000)]},
    ):  # fmt: skip
        assert work(**kept).seconds == pytest.approx(costs()["start_s"] + whole / 4), kept
    unknown = work(sorter_name="kilosort4")
    assert (unknown.seconds, unknown.memory_bytes) == (None, None)
    assert unknown.words().startswith("how long kilosort4 takes is not known, nor its memory; ")
    assert estimates([job, job], [seen, None])[1] is None
    (job.results / "stages" / "sorting").mkdir(parents=True)
    (job.results / "stages" / "sorting" / "manifest.json").touch()
    assert estimates([job], [seen]) == [None]


def test_several_sorts_are_added_up_by_sorter() -> None:
    one = Estimate(100.0, 150.0, 2**30, 10**9, "rt_sort")
    other = Estimate(None, None, None, 10**9, "kilosort4")
    assert estimate_lines([one, None, one, one, other]) == [
        "3 sorts with rt_sort, one after the other, take about 5 min, 1 GiB of memory and 1 GB of disk meanwhile",
        "how long kilosort4 takes is not known, nor its memory; 1 GB of disk meanwhile",
    ]
    assert estimate_lines([one, one, one], at_once=2) == [
        "3 sorts with rt_sort, 2 at a time, take about 3 min 40 s, 2 GiB of memory and 2 GB of disk meanwhile"
    ]
    (line,) = estimate_lines([other, other])
    assert line.startswith("2 sorts with kilosort4, one after the other: how long kilosort4 takes is not known, nor ")
    assert estimate_lines([None]) == []
    assert [rounded(s) for s in (0.2, 13.4, 64.0, 1234.0, 9000.0)] == ["1 s", "13 s", "1 min", "21 min", "2 h 30 min"]


def test_inspect_tells_it(run: Callable[..., Result], recording: Path) -> None:
    shown = run("inspect", str(recording), "--sorter", "rt_sort")
    assert "a sort takes about " in shown.output
    assert " of memory and " in shown.output
    assert reference_work() > 0
    done = run("sort", str(recording), "--sorter", "threshold", "--set", "n_jobs=1")
    assert done.exit_code == 0, done.output
    again = run("inspect", str(recording), "--sorter", "threshold").output
    assert "a sort takes" not in again
    assert f"sorted_threshold_{recording.name}" in again.partition("sorted already: ")[2]


def test_the_benchmark_finds_the_costs_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From noisy measurements, one of them far off."""
    sizes = [(32, 30e3, 60), (64, 20e3, 120), (64, 20e3, 900), (144, 20e3, 90), (1000, 20e3, 20), (256, 20e3, 600)]
    rows = [
        {
            "recording": f"{channels}", "sorter": "rt_sort", "channels": channels, "rate": rate, "seconds": seconds,
            "cpu_s": core_seconds({**COST, "learnt_s": 180.0}, channels, rate, seconds) * off,
            "peak_mib": 500 + 0.5 * channels, "reference_s": 0.01,
        }
        for (channels, rate, seconds), off in zip(sizes, (1.1, 0.9, 1.0, 2.2, 1.05, 0.95), strict=True)
    ]  # fmt: skip
    found = fit(rows, 180.0)
    assert found["per_value"] == pytest.approx(0.1, rel=0.3)
    assert found["channels_power"] == pytest.approx(0.5, abs=0.1)
    assert (found["memory_mib"], found["memory_mib_per_channel"]) == (500, 0.5)
    monkeypatch.setattr("benchmarks.costs.COSTS", tmp_path / "costs.json")
    (tmp_path / "costs.json").write_text('{"sorters": {}}')
    report(rows, tmp_path, write_costs=True)
    assert "rt_sort: 5 of 6 within a factor of 1.5." in (tmp_path / "costs.md").read_text()
    assert '"per_learnt"' in (tmp_path / "costs.json").read_text()

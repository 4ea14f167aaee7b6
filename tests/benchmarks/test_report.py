"""The report says what was reached, and names the worst units."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from benchmarks.measuring import Cost
from benchmarks.rt_sort import Row, main
from benchmarks.rt_sort_aims import AIMS, BEFORE, BEST, Aim, accuracy, cpu, lost_by_curation
from benchmarks.rt_sort_recipes import RECIPES
from benchmarks.rt_sort_report import aims_table, curation_table, described, draw, report, worst_table
from benchmarks.rt_sort_scoring import Score


def row(family: str, values: list[float], sorter: str = "rt_sort", cpu_s: float = 10.0, **more: Any) -> Row:
    reasons = ["in 2 pieces" if value < 0.95 else "" for value in values]
    snr = [6.0, 18.0, 30.0][: len(values)]
    made = Score(values, snr, len(values), 1, 0, 0, [True] * len(values), reasons, **more)
    cost = Cost([cpu_s], [cpu_s], 1.0, 1.0, 1.0)
    curated = replace(made, false_positives=0)
    evident = replace(made, accuracy=[*values[:-1], 0.0]) if sorter == "rt_sort" else None
    return Row(family, 1, "digest", sorter, "1", "machine", cost, made, curated, evident)


def test_every_family_has_aims() -> None:
    assert {aim.family for aim in AIMS} == set(RECIPES)
    assert all({aim.below, aim.share} <= {"", BEST, BEFORE, *RECIPES} for aim in AIMS)


def test_a_unit_that_curation_drops_counts_whatever_it_gains_elsewhere() -> None:
    before, after = Score([1.0, 0.9, 0.6, 0.8], [9.0] * 4, 4, 0, 0, 0, [False] * 4, [""] * 4), [0.0, 0.7, 0.9, 0.79]
    rows = [replace(row("hum", [1.0]), score=before, evident=replace(before, accuracy=after))]
    assert lost_by_curation(rows) == pytest.approx(100 / 3)


def test_what_is_not_measured_has_no_value() -> None:
    aim = Aim("stim", "", accuracy, 0.02, most=True, below="stim_none")
    assert aim.value([row("stim", [0.9])]) is None
    assert aim.value([row("stim_none", [0.9])]) is None
    best = Aim("xl", "", cpu, 0.5, most=True, share=BEST)
    assert best.value([row("xl", [0.9])]) is None


def test_differences_and_ratios() -> None:
    rows = [row("stim", [0.9]), row("stim_none", [1.0])]
    assert Aim("stim", "", accuracy, 0.02, most=True, below="stim_none").value(rows) == pytest.approx(0.1)
    rows = [row("xl", [0.9]), row("xl", [0.5], "worse", 1.0), row("xl", [0.8], "better", 40.0)]
    aim = Aim("xl", "", cpu, 0.5, most=True, share=BEST)
    assert aim.value(rows) == 0.25
    assert aim.met(0.25)
    assert not aim.met(0.6)


def test_ours_before_is_none_of_the_others() -> None:
    rows = [row("grid", [0.9], cpu_s=12.0), row("grid", [1.0], BEFORE, 10.0), row("grid", [0.5], "other", 2.0)]
    assert Aim("grid", "", cpu, 1.2, share=BEFORE).value(rows) == pytest.approx(1.2)
    assert Aim("grid", "", cpu, 1.2, share=BEST).value(rows) == pytest.approx(6.0)
    assert Aim("grid", "", accuracy, 0.0, below=BEFORE).value(rows) == pytest.approx(0.1)


def test_tables() -> None:
    rows = [row("hard2", [0.97, 0.99, 0.8]), row("hard2", [0.9, 0.9, 0.9], "other"), row("grid", [0.6, 1.0, 1.0])]
    aims = aims_table(rows)
    assert "| hard2 | lowest accuracy, SNR >= 20 | at least 0.9 | 0.800 | **no** | 0.900 |" in aims
    assert "| grid | lowest accuracy, SNR >= 20 | at least 0.9 | 1.000 | yes |  |" in aims
    worst = worst_table(rows)
    assert "| hard2 | 1 | 2 | 30.0 | 0.800 | in 2 pieces |" in worst
    assert "| grid | 1 | 0 | 6.0 | 0.600 | in 2 pieces |" in worst
    assert worst.count("\n") == 3
    assert "| hard2 | 3 | 3 | 2 | 1.0 | 0.0 | 1.0 |" in curation_table(rows)
    assert "| hard2 | well-sorted units lost, in 100, curated by evidence | at most 2 | 33.333 | **no** |  |" in aims


def test_rows_of_before_can_still_be_read() -> None:
    made = asdict(row("grid", [1.0], "other"))
    del made["evident"]
    assert Row.from_dict(made) == row("grid", [1.0], "other")


def test_every_recipe_is_described() -> None:
    assert "30 pulses on the rail" in described(RECIPES["stim"])
    assert "counts of 6.29 uV" in described(RECIPES["maxone"])
    assert "drift" in described(RECIPES["drift_step"])
    assert all(described(recipe) for recipe in RECIPES.values())


def test_the_report_is_written(tmp_path: Path) -> None:
    rows = [row("hard2", [0.97, 0.99, 0.8]), row("grid", [1.0, 1.0, 1.0])]
    report(rows, tmp_path / "rt_sort.md")
    text = (tmp_path / "rt_sort.md").read_text(encoding="utf-8")
    assert all(f"\n## {head}\n" in text for head in ("Aims", "Worst units", "hard2", "grid"))


def test_panels_are_drawn_in_rows(tmp_path: Path) -> None:
    rows = [row(family, [1.0, 0.9, 0.8]) for family in ("grid", "xl", "hard", "hard2", "stim")]
    draw(rows, tmp_path / "rt_sort.png")
    assert (tmp_path / "rt_sort.png").stat().st_size > 10_000


def test_runs_are_joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, family in (("a", "grid"), ("b", "stim")):
        made = [asdict(replace(row(family, [1.0, 0.9, 0.8]), digest=name))]
        (tmp_path / name).write_text(json.dumps(made), encoding="utf-8")
    joined = ["--join", str(tmp_path / "a"), str(tmp_path / "b")]
    monkeypatch.setattr("sys.argv", ["rt_sort", "--families", "", "--out", str(tmp_path / "out"), *joined])
    main()
    text = (tmp_path / "out" / "rt_sort.md").read_text(encoding="utf-8")
    assert "\n## grid\n" in text
    assert "\n## stim\n" in text

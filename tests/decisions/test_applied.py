"""Decisions in a results folder are taken up by the next run."""

import csv
import json

import numpy as np
import pytest

from spikelab.spike_sorting import decisions as d
from spikelab.spike_sorting.run.results import Results
from spikelab.spikedata import SpikeData


def files_of(folder):
    """Bytes of the results, but for those with dates."""
    dated = ("run.json", "report.html", "manifest.json", "owner.json")
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.name not in dated]
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in paths if path.suffix not in (".out", ".log")
    }


def largest(trains):
    """Ids of the units, those of the most spikes first."""
    sizes = dict(zip(trains.unit_ids.tolist(), map(len, trains.samples), strict=True))
    return sorted(sizes, key=lambda unit: -sizes[unit])


def decide(root, *steps):
    """Write decisions into the results."""
    opened = Results.open(root / "out")
    decisions, state = opened.decisions, opened.state
    for step in steps:
        decisions, state = d.with_step(decisions, step, state)
    d.write(root / "out" / d.FILE, decisions)
    return decisions, state


def rows_of(root):
    with (root / "out" / "unit_metrics.csv").open() as file:
        return {int(row["unit_id"]): row for row in csv.DictReader(file)}


def test_verdicts_merges_and_splits_come_out_of_a_sort(copied, sort):
    root = copied()
    before = {unit["unit_id"]: unit for unit in Results.open(root / "out").units.unit_attributes}
    trains = Results.open(root / "out").trains
    a, b, c, e = largest(trains)[:4]
    spikes_of = dict(zip(trains.unit_ids.tolist(), trains.samples, strict=True))
    middle = float(np.median(spikes_of[c])) / 20_000.0
    new = int(trains.unit_ids.max()) + 1
    decide(
        root,
        {"do": "merge", "units": [a, b]},
        {"do": "split", "unit": c, "by": "time", "at_s": middle},
        {"do": "mark", "units": [e], "verdict": "drop", "label": "noise"},
        {"do": "mark", "units": [new], "verdict": "keep", "label": "two cells"},
        {"do": "mark", "units": [new + 1], "verdict": "keep"},
    )
    units = sort(root)
    opened = Results.open(root / "out")
    assert {a, b, c, e}.isdisjoint(units.unit_ids)
    assert {new, new + 1} <= set(units.unit_ids)
    merged = units.unit_attributes[units.unit_ids.index(new)]
    assert [merged["decided"], merged["label"], merged["merged_from"]] == ["keep", "two cells", sorted([a, b])]
    part = units.unit_attributes[units.unit_ids.index(new + 1)]
    assert part["split_from"] == [c]
    assert "merged_from" not in part
    # Units that nobody merged or split are as they were, to the bit.
    for unit in opened.units.unit_attributes:
        if unit["unit_id"] in before and unit["unit_id"] != e:
            for name, value in before[unit["unit_id"]].items():
                np.testing.assert_array_equal(unit[name], value)
    rows = rows_of(root)
    assert [rows[e]["passed"], rows[e]["failed_criterion"], rows[e]["decided"]] == ["False", "by hand", "drop"]
    assert rows[new]["merged_from"] == f"{min(a, b)}; {max(a, b)}"
    assert rows[new]["label"] == "two cells"
    history = units.metadata["curation_history"]["decisions"]
    assert [step["do"] for step in history["steps"]] == ["merge", "split", "mark", "mark", "mark"]
    record = next(row for row in history["units"] if row["unit_id"] == new)
    spikes = sum(record["spikes_from"].values())
    assert spikes == len(spikes_of[a]) + len(spikes_of[b])
    assert record["duplicates_removed"] == spikes - len(merged["spike_train_samples"])
    curation = json.loads((root / "out" / "stages" / "curation" / "curation.json").read_text())
    assert curation["history"]["decisions"] == history
    assert curation["history"]["failed"]["by hand"] == [e]
    # Read again, it is all the same.
    saved = SpikeData.load(root / "out" / "sorted_spikedata_curated.npz")
    for other in (opened.curation.sd_curated, saved, sort(root)):
        assert other.unit_ids == units.unit_ids
        assert other.metadata["curation_history"] == units.metadata["curation_history"]
        for one, two in zip(units.unit_attributes, other.unit_attributes, strict=True):
            assert one.keys() == two.keys()
            for name in one:
                np.testing.assert_array_equal(one[name], two[name])
    report = (root / "out" / "report.html").read_text()
    assert "by hand" in report


@pytest.mark.slow
def test_all_undone_gives_the_results_as_they_were_to_the_byte(copied, sort):
    root = copied()
    before = files_of(root / "out")
    ids = largest(Results.open(root / "out").trains)
    decisions, _ = decide(
        root, {"do": "merge", "units": ids[:2]}, {"do": "mark", "units": [ids[2]], "verdict": "drop", "label": "x"}
    )
    sort(root)
    assert files_of(root / "out") != before
    d.write(root / "out" / d.FILE, d.undone(decisions, 2))
    sort(root)
    after = files_of(root / "out")
    left = {name for name in after if name not in before}
    assert left == {d.FILE, "stages/decisions/spikes.npz"}
    assert {name: after[name] for name in before} == before


def test_decisions_on_other_spikes_are_moved_away(copied, sort, caplog):
    root = copied()
    decide(root, {"do": "mark", "units": largest(Results.open(root / "out").trains)[:1], "verdict": "drop"})
    before = sort(root)
    path = root / "out" / d.FILE
    path.write_text(path.read_text().replace(d.read(path).sort, "another"))
    with caplog.at_level("WARNING", logger="spikelab"):
        units = sort(root)
    assert "does not fit, and is moved into the folder 'earlier'" in caplog.text
    assert not path.exists()
    assert len(list((root / "out" / "earlier").rglob(d.FILE))) == 1
    assert units.N == before.N + 1


@pytest.mark.slow
def test_a_unit_is_kept_by_hand_in_spite_of_criteria(copied, sort):
    root = copied()
    sort(root, snr_min=1000.0)
    unit = largest(Results.open(root / "out").trains)[1]
    decide(root, {"do": "mark", "units": [unit], "verdict": "keep"})
    units = sort(root, snr_min=1000.0)
    assert units.unit_ids == [unit]
    row = rows_of(root)[unit]
    assert [row["passed"], row["passed_first"], row["failed_criterion"]] == ["True", "False", ""]
    assert row["failed_criteria"] == "snr"
    assert "kept by hand" in (root / "out" / "report.html").read_text()
    assert Results.open(root / "out").curation.sd_curated.unit_ids == [unit]

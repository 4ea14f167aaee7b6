"""``spikelab curate``: decisions from files of this program and of others."""

import json

import numpy as np
import pytest

from spikelab.spike_sorting import curate_results, export_results
from spikelab.spike_sorting import decisions as d
from spikelab.spike_sorting._exceptions import ConcurrentSortError
from spikelab.spike_sorting.exchange.curate import curation_content, planned
from spikelab.spike_sorting.run.lock import locked
from spikelab.spike_sorting.run.results import Results, TracesUnavailableError


def steps_for(opened):
    """Decisions of every kind, on the largest units."""
    trains = opened.trains
    sizes = dict(zip(trains.unit_ids.tolist(), map(len, trains.samples), strict=True))
    a, b, c, e = sorted(sizes, key=lambda unit: -sizes[unit])[:4]
    new = int(trains.unit_ids.max()) + 1
    second = np.arange(sizes[c]) % 3 == 1
    return [
        {"do": "mark", "units": [e], "verdict": "drop", "label": "noise"},
        {"do": "merge", "units": [a, b]},
        {"do": "split", "unit": c, "by": "given", "second": d.packed(second)},
        {"do": "mark", "units": [new], "verdict": "keep", "label": "two cells"},
        {"do": "merge", "units": [new, new + 1]},
        {"do": "mark", "units": [new + 3], "label": "good"},
    ]


def with_steps(opened, steps):
    decisions, state = d.Decisions.on(opened.trains), None
    state = d.state_of(decisions, opened.trains, opened.recording.sampling_frequency)
    for step in steps:
        decisions, state = d.with_step(decisions, step, state)
    return decisions, state


def same(one, two):
    """Whether two states are the same, to the bit."""
    assert list(one.units) == list(two.units)
    for first, second in zip(one.units.values(), two.units.values(), strict=True):
        assert (first.verdict, first.label, first.spikes_from) == (second.verdict, second.label, second.spikes_from)
        np.testing.assert_array_equal(first.frames, second.frames)
    return True


@pytest.fixture(scope="module")
def sorted_results(sorted_once):
    return Results.open(sorted_once / "out")


def test_a_curation_of_spikeinterface_that_was_written_is_read_back_as_the_same_state(sorted_results):
    from spikeinterface.curation.curation_model import SequentialCuration

    decisions, state = with_steps(sorted_results, steps_for(sorted_results))
    opened = Results(sorted_results.folder, sorted_results.config, sorted_results.record)
    opened.__dict__["decisions"] = decisions
    content = json.loads(json.dumps(curation_content(opened)))
    assert len(SequentialCuration(**content).curation_steps) == 3
    assert same(planned(sorted_results.folder, content).state, state)


def test_verdicts_alone_are_one_curation(sorted_results):
    from spikeinterface.curation.curation_model import Curation

    unit = int(sorted_results.trains.unit_ids[0])
    decisions, state = with_steps(sorted_results, [{"do": "mark", "units": [unit], "verdict": "drop", "label": "x"}])
    opened = Results(sorted_results.folder, sorted_results.config, sorted_results.record)
    opened.__dict__["decisions"] = decisions
    content = curation_content(opened)
    assert Curation(**content).removed == [unit]
    assert same(planned(sorted_results.folder, content).state, state)


def test_labels_of_other_programs_are_understood(sorted_results):
    ids = sorted_results.trains.unit_ids.tolist()
    content = {
        "format_version": "1",
        "unit_ids": [str(unit) for unit in ids],
        "label_definitions": {
            "quality": {"label_options": ["good", "MUA", "noise"], "exclusive": True},
            "type": {"label_options": ["slow", "fast"], "exclusive": False},
        },
        "manual_labels": [
            {"unit_id": str(ids[0]), "quality": ["MUA"]},
            {"unit_id": str(ids[1]), "quality": ["good"], "type": ["fast"]},
            {"unit_id": str(ids[2]), "type": ["slow", "fast"]},
        ],
        "removed_units": [str(ids[3])],
        "merge_unit_groups": [[str(ids[4]), str(ids[5])]],
    }
    state = planned(sorted_results.folder, content).state
    said = [(state.units[unit].label, state.units[unit].verdict) for unit in ids[:4]]
    assert said == [("multi-unit", "drop"), ("good, fast", "keep"), ("slow, fast", None), (None, "drop")]
    assert state.origin(max(ids) + 1) == {"merged_from": ids[4:6]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"format_version": "2", "unit_ids": [0, 7777]}, "units that these results do not have: 7777"),
        ({"format_version": "2", "unit_ids": [0], "removed": [1]}, "refuses it: .*Removed unit_id 1 is not in"),
        ({"format_version": "2", "unit_ids": 5}, "no curation in SpikeInterface's format"),
        ({"format": "spikelab decisions 1", "sort": "x", "steps": [], "done": 0}, "other units or spikes \\(sort x\\)"),
        ({"clusters": []}, "it is JSON with clusters: expected decisions.json"),
    ],
)
def test_what_does_not_fit_is_told_and_nothing_is_written(sorted_results, tmp_path, content, message):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        curate_results(sorted_results.folder, path)
    assert not (sorted_results.folder / d.FILE).exists()


def test_the_command_tells_what_it_would_do_and_does_it(copied, run, tmp_path):
    root = copied()
    opened = Results.open(root / "out")
    decisions, _ = with_steps(opened, steps_for(opened))
    d.write(tmp_path / "mine.json", d.undone(decisions))
    dry = run("curate", root / "out", "--from", tmp_path / "mine.json", "--dry-run")
    assert dry.exit_code == 0
    assert "nothing was changed (--dry-run)" in dry.output
    assert not (root / "out" / d.FILE).exists()
    done = run("curate", root / "out", "--from", tmp_path / "mine.json")
    assert done.exit_code == 0, done.output
    new = int(opened.trains.unit_ids.max()) + 4
    assert f"unit {new}: " in done.output
    after = Results.open(root / "out")
    assert new in after.curation.sd_curated.unit_ids
    assert d.read(root / "out" / d.FILE).done == len(decisions.steps) - 1
    assert not (root / "out" / "earlier").exists()
    # Others that are not among them are kept.
    other, _ = with_steps(opened, [{"do": "mark", "units": [decisions.steps[0]["units"][0]], "label": "mine"}])
    d.write(root / "out" / d.FILE, other)
    assert run("curate", root / "out", "--from", tmp_path / "mine.json").exit_code == 0
    (kept,) = (root / "out" / "earlier").rglob(d.FILE)
    assert d.read(kept) == other


def test_without_a_recording_verdicts_and_labels_apply_and_merges_say_what_is_missing(copied):
    root = copied(traces=False, recording=False)
    opened = Results.open(root / "out")
    ids = opened.trains.unit_ids.tolist()
    merge, _ = with_steps(opened, [{"do": "merge", "units": ids[:2]}])
    with pytest.raises(TracesUnavailableError, match="merges and splits need the filtered traces, .* no recording at"):
        curate_results(root / "out", merge)
    assert not (root / "out" / d.FILE).exists()
    kept = opened.curation.sd_curated.unit_ids
    mark, _ = with_steps(opened, [{"do": "mark", "units": kept[:1], "verdict": "drop", "label": "noise"}])
    (units,) = curate_results(root / "out", mark)
    assert units.unit_ids == kept[1:]


def test_a_folder_saved_in_phy_gives_the_decisions(copied, tmp_path):
    root = copied()
    opened = Results.open(root / "out")
    folder = export_results(root / "out", "phy", tmp_path / "phy", units="all", traces=False)
    ids = json.loads((folder / "spikelab.json").read_text())["unit_ids"]
    clusters = np.load(folder / "spike_clusters.npy")
    sizes = np.bincount(clusters, minlength=len(ids))
    a, b, c = np.argsort(-sizes)[:3].tolist()
    after = clusters.copy()
    after[(clusters == a) | (clusters == b)] = 100  # merged
    rows = np.flatnonzero(clusters == c)
    after[rows[::2]], after[rows[1::2]] = 101, 102  # split
    np.save(folder / "spike_clusters.npy", after)
    groups = (folder / "cluster_group.tsv").read_text()
    (folder / "cluster_group.tsv").write_text(groups + "100\tgood\n101\tgood\n102\tnoise\n")
    plan = planned(root / "out", folder)
    new = {tuple(unit.spikes_from): unit for unit in plan.state.new}
    merged = new[tuple(sorted([ids[a], ids[b]]))]
    assert (merged.verdict, merged.label) == ("keep", "good")
    split = [unit for unit in plan.state.new if list(unit.spikes_from) == [ids[c]]]
    assert [(len(unit.frames), unit.label) for unit in split] == [(len(rows[::2]), "good"), (len(rows[1::2]), "noise")]
    # What nobody touched, nobody decided.
    assert all(unit.verdict is None for unit in plan.state.units.values() if unit.unit_id in opened.trains.unit_ids)


@pytest.mark.slow
def test_other_steps_to_the_same_units_compute_nothing_of_the_units_again(copied, tmp_path):
    root = copied()
    opened = Results.open(root / "out")
    by_time, state = with_steps(
        opened, [{"do": "split", "unit": steps_for(opened)[2]["unit"], "by": "time", "at_s": 3}]
    )
    second = state.units[state.next_id - 1]
    curate_results(root / "out", by_time)
    run_id = Results.open(root / "out").run_id("waveforms")
    again = curation_content(Results.open(root / "out"))
    plan = planned(root / "out", again)
    assert plan.decisions.steps[0]["by"] == "given"
    np.testing.assert_array_equal(plan.state.units[second.unit_id].frames, second.frames)
    curate_results(root / "out", again)
    assert Results.open(root / "out").run_id("waveforms") == run_id


def test_while_a_run_is_under_way_nothing_is_written(copied):
    root = copied()
    opened = Results.open(root / "out")
    mark, _ = with_steps(opened, [{"do": "mark", "units": opened.trains.unit_ids.tolist()[:1], "label": "x"}])
    with locked(root / "out", root / "out" / "intermediate"), pytest.raises(ConcurrentSortError):
        curate_results(root / "out", mark)
    assert not (root / "out" / d.FILE).exists()


def test_decisions_that_could_not_be_applied_can_be_applied_again_or_taken_back(copied, monkeypatch):
    root = copied()
    opened = Results.open(root / "out")
    units = opened.trains.unit_ids.tolist()
    merged, _ = with_steps(opened, [{"do": "merge", "units": units[:2]}])

    def fails(*_):
        raise MemoryError

    with monkeypatch.context() as broken:
        broken.setattr("spikelab.spike_sorting.curation.curate_two_rounds", fails)
        with pytest.raises(Exception, match="memory"):
            curate_results(root / "out", merged)
    with pytest.raises(FileNotFoundError, match="'failed'"):
        Results.open(root / "out")
    curate_results(root / "out")
    assert max(units) + 1 in Results.open(root / "out").units.unit_ids
    curate_results(root / "out", d.Decisions.on(opened.trains))
    assert list(Results.open(root / "out").units.unit_ids) == units

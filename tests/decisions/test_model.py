"""Decisions: steps, undo and redo, and the state that is their replay."""

import json

import numpy as np
import pytest

from spikelab.spike_sorting import decisions as d
from spikelab.spike_sorting.data import SpikeTrains

FS = 20_000.0


def some_trains(rng, n_units=6):
    counts = rng.integers(2, 60, n_units)
    return SpikeTrains.from_dict(
        {int(3 * unit): np.sort(rng.choice(40_000, count, replace=False)) for unit, count in enumerate(counts)}
    )


def decided(trains, *steps):
    """Decisions with these steps, and their state."""
    decisions = d.Decisions.on(trains)
    state = d.state_of(decisions, trains, FS)
    for step in steps:
        decisions, state = d.with_step(decisions, step, state)
    return decisions, state


def plain(state):
    """Everything in a state, as text."""
    units = [
        [u.unit_id, u.frames.tolist(), u.sources.tolist(), u.verdict, u.label, u.removed] for u in state.units.values()
    ]
    return json.dumps([units, state.next_id])


def random_step(rng, state):
    """A step that fits the state, of any kind."""
    ids = list(state.units)
    kind = rng.integers(4)
    if kind == 0 and len(ids) > 2:
        return {"do": "merge", "units": rng.choice(ids, rng.integers(2, 4), replace=False).tolist()}
    large = [unit for unit in state.units.values() if len(np.unique(unit.frames)) > 1]
    if kind in (1, 2) and large:
        unit = large[rng.integers(len(large))]
        if kind == 1:
            middle = float(np.mean(unit.frames[[0, -1]])) / FS
            return {"do": "split", "unit": unit.unit_id, "by": "time", "at_s": middle}
        second = rng.random(len(unit.frames)) < 0.5
        second[0], second[-1] = True, False
        return {"do": "split", "unit": unit.unit_id, "by": "amplitude", "second": d.packed(second), "points": [[0, 1]]}
    said = {"verdict": rng.choice(["keep", "drop", None]), "label": rng.choice(["good", "interneuron?", None])}
    names = ["verdict", "label"][: rng.integers(1, 3)]
    return {"do": "mark", "units": [int(rng.choice(ids))], **{name: said[name] for name in names}}


@pytest.mark.parametrize("seed", range(2))
def test_random_steps_and_as_many_undos_leave_the_state_as_it_was_to_the_byte(seed):
    rng = np.random.default_rng(seed)
    trains = some_trains(rng)
    n_spikes = sum(map(len, trains.samples))
    decisions = d.Decisions.on(trains)
    state = d.state_of(decisions, trains, FS)
    seen, used = [plain(state)], set(trains.unit_ids.tolist())
    for _ in range(40):
        decisions, after = d.with_step(decisions, random_step(rng, state), state)
        new = set(after.units) - set(state.units)
        assert not new & used, "an id was given twice"
        used |= new
        assert list(after.units) == sorted(after.units)
        seen.append(plain(after))
        state = after
        grouped = d.regrouped(trains, after)
        assert grouped.unit_ids.tolist() == sorted(after.units)
        removed = sum(sum(unit.removed.values()) for unit in after.units.values())
        assert sum(map(len, grouped.samples)) + after.n_removed == n_spikes
        assert removed <= after.n_removed
        assert all(np.all(np.diff(train) >= 0) for train in grouped.samples)
    for before in reversed(seen[:-1]):
        decisions = d.undone(decisions)
        assert plain(d.state_of(decisions, trains, FS)) == before
    assert decisions.done == 0 == d.undone(decisions).done
    for after in seen[1:]:
        decisions = d.redone(decisions)
        assert plain(d.state_of(decisions, trains, FS)) == after
    assert d.redone(decisions) == decisions


def test_a_thousand_actions_are_undone(tmp_path):
    rng = np.random.default_rng(8)
    trains = some_trains(rng, 40)
    decisions = start = d.Decisions.on(trains)
    ids = trains.unit_ids.tolist()
    steps = [{"do": "mark", "units": [ids[n % 40]], "verdict": ("keep", "drop", None)[n % 3]} for n in range(1000)]
    decisions = d.Decisions(start.sort, tuple(steps), 1000)
    d.write(tmp_path / d.FILE, decisions)
    back = d.read(tmp_path / d.FILE)
    assert back == decisions
    for _ in range(1000):
        back = d.undone(back)
    empty = plain(d.state_of(start, trains, FS))
    assert plain(d.state_of(back, trains, FS)) == empty
    assert d.state_of(d.redone(back, 1000), trains, FS).units[ids[-1]].verdict == ("keep", "drop", None)[999 % 3]


def test_a_new_step_forgets_those_that_were_undone():
    trains = SpikeTrains.from_dict({1: [10, 20], 2: [300]})
    decisions = d.undone(decided(trains, {"do": "merge", "units": [1, 2]})[0])
    label = {"do": "mark", "units": [2], "label": " good "}
    decisions, _ = d.with_step(decisions, label, d.state_of(decisions, trains, FS))
    assert decisions.steps == ({"do": "mark", "units": [2], "label": "good"},)
    assert d.state_of(decisions, trains, FS).units[2].label == "good"


def test_of_a_merge_one_of_two_spikes_within_400_us_stays():
    trains = SpikeTrains.from_dict({1: [100, 1000, 2000], 2: [92, 1009, 3000, 3004]})  # 8 frames are 0.4 ms
    unit = decided(trains, {"do": "merge", "units": [1, 2]})[1].units[3]
    # Unit 2 is larger: its spikes stay, also those that are close to each other.
    assert unit.frames.tolist() == [92, 1000, 1009, 2000, 3000, 3004]
    assert unit.sources.tolist() == [2, 1, 2, 1, 2, 2]
    assert unit.removed == {1: 1}
    assert unit.spikes_from == {1: 3, 2: 4}


def test_a_split_that_is_merged_again_is_the_unit_as_it_was():
    frames = [100, 104, 108, 5000]
    trains = SpikeTrains.from_dict({1: frames})
    split = {"do": "split", "unit": 1, "by": "given", "second": d.packed([0, 1, 0, 1])}
    _, state = decided(trains, split, {"do": "merge", "units": [2, 3]})
    assert state.units[4].frames.tolist() == frames
    assert state.origin(4) == {}


def test_units_say_where_they_come_from():
    trains = SpikeTrains.from_dict({1: [100, 5000], 2: [900, 9000], 3: [7000]})
    _, state = decided(
        trains,
        {"do": "mark", "units": [1], "verdict": "drop", "label": "good"},
        {"do": "split", "unit": 1, "by": "time", "at_s": 0.1},
        {"do": "merge", "units": [2, 4]},
    )
    assert list(state.units) == [3, 5, 6] == [unit.unit_id for unit in state.units.values()]
    assert state.origin(3) == {}
    assert state.origin(5) == {"split_from": [1]}
    assert state.origin(6) == {"merged_from": [1, 2], "split_from": [1]}
    assert state.units[6].frames.tolist() == [100, 900, 9000]
    assert [state.units[5].label, state.units[5].verdict] == ["good", None]
    assert state.units[6].label == "good"
    assert [unit.unit_id for unit in state.new] == [5, 6]


def test_regrouped_trains_keep_what_is_known_of_units():
    trains = SpikeTrains(
        np.array([1, 2, 3]),
        (np.array([100, 5000]), np.array([900]), np.array([7000])),
        np.array([0, 1, 1]),
        ("a", "b", "c"),
        {"moved_um": np.array([1.0, 2.0, 3.0])},
        {"sorter_label": ("good", "mua", "noise")},
    )
    grouped = d.regrouped(trains, decided(trains, {"do": "merge", "units": [1, 2]})[1])
    assert grouped.unit_ids.tolist() == [3, 4]
    assert grouped.samples[0] is trains.samples[2]
    assert grouped.groups.tolist() == [1, 0]
    assert grouped.sorter_ids == ("c", "a+b")
    np.testing.assert_array_equal(grouped.measures["moved_um"], [3.0, np.nan])
    assert grouped.told == {"sorter_label": ("noise", None)}


BASE = {"do": "split", "unit": 1, "into": [3, 4], "by": "time", "at_s": 0.1}


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ([], "expected a step"),
        ({"do": "delete"}, "do: found 'delete', expected one of mark, merge, split"),
        ({"do": "mark", "units": [1]}, "mark needs a verdict or a label"),
        ({"do": "mark", "units": [], "label": None}, "units: found \\[\\], expected 1 or more different unit ids"),
        ({"do": "mark", "units": [1, 1], "label": None}, "expected 1 or more different unit ids"),
        ({"do": "mark", "units": [True], "label": None}, "expected a list of unit ids"),
        ({"do": "mark", "units": [1], "verdict": "good"}, "verdict: found 'good', expected keep, drop or null"),
        ({"do": "mark", "units": [1], "label": "a\nb"}, "on one line"),
        ({"do": "mark", "units": [1], "label": "  "}, "1 to 100 characters"),
        ({"do": "mark", "units": [8], "label": "x"}, "unit 8 is not there$"),
        ({"do": "merge", "units": [1]}, "expected 2 or more different unit ids"),
        ({"do": "merge", "units": [1, 2], "into": 7}, "into: found \\[7\\], expected \\[3\\]"),
        ({"do": "merge", "units": [1, 2], "label": "x"}, "merge has no 'label', expected units, into"),
        ({**BASE, "at_s": 9}, "unit 1 would be split into 2 and 0 spikes"),
        ({**BASE, "at_s": float("nan")}, "at_s: found nan, expected a finite number"),
        ({**BASE, "into": [4, 3]}, "into: found \\[4, 3\\], expected \\[3, 4\\]"),
        ({**BASE, "by": "colour"}, "by: found 'colour', expected one of time, amplitude, projection, given"),
        ({"do": "split", "unit": 1, "by": "given"}, "split needs 'second'"),
        ({"do": "split", "unit": 1, "by": "given", "second": "??"}, "second cannot be read"),
        ({"do": "split", "unit": 1, "by": "given", "second": d.packed([1] * 9)}, "more bytes, expected 1"),
        ({"do": "split", "unit": 1, "by": "given", "second": d.packed([])}, "second has 0 bytes, expected 1"),
        ({"do": "split", "unit": 1, "by": "given", "second": "", "points": [[1]]}, "a list of points"),
    ],
)
def test_a_step_that_does_not_fit_is_told(step, message):
    trains = SpikeTrains.from_dict({1: [100, 5000], 2: [900]})
    with pytest.raises(ValueError, match=message):
        decided(trains, step)


def test_a_unit_that_was_merged_before_is_told():
    trains = SpikeTrains.from_dict({1: [100, 5000], 2: [900]})
    merge = {"do": "merge", "units": [1, 2]}
    with pytest.raises(ValueError, match="units 1, 2 are not there any more: merged or split before"):
        decided(trains, merge, merge)


def test_decisions_on_other_spikes_are_refused():
    trains = SpikeTrains.from_dict({1: [100, 5000], 2: [900]})
    others = [SpikeTrains.from_dict({1: [100, 5000], 2: [901]}), SpikeTrains.from_dict({1: [100], 2: [900, 5000]})]
    for other in others:
        with pytest.raises(ValueError, match="other units or spikes"):
            d.state_of(d.Decisions.on(trains), other, FS)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "spikelab decisions 2"}, "format: found 'spikelab decisions 2', expected 'spikelab decisions 1'"),
        ({"done": 3}, "done: found 3, expected how many of the 1 steps count"),
        ({"steps": {}}, "steps: found {}, expected a list"),
        ({"steps": [{"do": "merge"}]}, "step 1: merge needs 'units'"),
        ({"sort": 5}, "sort: found 5, expected text"),
        ({"by": "me"}, "expected format, sort, steps, done"),
    ],
)
def test_a_file_of_another_form_is_told(tmp_path, change, message):
    step = {"do": "mark", "units": [1], "label": "x"}
    content = {"format": d.FORMAT, "sort": "abc", "steps": [step], "done": 1} | change
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as caught:
        d.read(path)
    assert str(path) in str(caught.value)


def test_a_merge_takes_the_label_of_the_largest_unit_that_has_one():
    trains = SpikeTrains.from_dict({1: [100, 5000, 9000], 2: [900, 2000], 3: [700]})
    labels = [{"do": "mark", "units": [unit], "label": label} for unit, label in ((2, "good"), (3, "noise"))]
    _, state = decided(trains, *labels, {"do": "merge", "units": [3, 2, 1]})
    assert state.units[4].label == "good"


def test_a_unit_without_spikes_stays_where_others_are_merged():
    trains = SpikeTrains.from_dict({1: [10, 500], 2: [900], 3: []})
    _, state = decided(trains, {"do": "merge", "units": [1, 2]})
    kept = d.regrouped(trains, state)
    assert dict(zip(kept.unit_ids.tolist(), map(len, kept.samples), strict=True)) == {3: 0, 4: 3}

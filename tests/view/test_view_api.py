"""What the server answers: state, changes on disk, traces, projections, spikes."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.decisions import packed, read, regrouped, state_of
from spikelab.spike_sorting.run.results import Results


def decoded(text: str, dtype: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=dtype)


def test_a_step_is_on_disk_before_it_is_answered(client: Any, copied: Path) -> None:
    before = client.get("state")
    assert before["revision"] == ""
    unit = before["units"][0]["id"]
    after = client.post("act", {"revision": "", "step": {"do": "mark", "units": [unit], "verdict": "keep"}})
    assert read(copied / "decisions.json").steps == ({"do": "mark", "units": [unit], "verdict": "keep"},)
    assert after["units"][0]["verdict"] == "keep"
    assert after["revision"] not in ("", before["revision"])


def test_a_step_that_is_based_on_an_older_state_changes_nothing(client: Any, copied: Path) -> None:
    first, second = (unit["id"] for unit in client.get("state")["units"][:2])
    newest = client.act(do="mark", units=[first], label="good")
    on_disk = (copied / "decisions.json").read_bytes()
    for name in ("act", "undo", "redo", "apply"):
        step = {"do": "mark", "units": [second], "label": "noise"}
        answer = client.post(name, {"revision": "", "step": step}, expected=409)
        assert answer["state"] == newest
    assert (copied / "decisions.json").read_bytes() == on_disk


def test_decisions_of_another_program_are_seen_and_not_overwritten(client: Any, copied: Path) -> None:
    unit = client.get("state")["units"][0]["id"]
    old = client.act(do="mark", units=[unit], label="good")
    values = json.loads((copied / "decisions.json").read_text())
    values["steps"].append({"do": "mark", "units": [unit], "label": "theirs"})
    (copied / "decisions.json").write_text(json.dumps(values | {"done": 2}))
    step = {"do": "mark", "units": [unit], "label": "ours"}
    answer = client.post("act", {"revision": old["revision"], "step": step}, expected=409)
    assert answer["state"]["units"][0]["label"] == "theirs"


def test_undo_of_all_steps_and_redo_lead_back(client: Any, copied: Path) -> None:
    start = client.get("state")
    a, b, c, d = (unit["id"] for unit in start["units"][:4])
    client.act(do="merge", units=[a, b, c])
    client.act(do="split", unit=d, by="time", at_s=3.0)
    end = client.act(do="mark", units=[start["next_id"]], verdict="keep", label="good")
    assert [unit["id"] for unit in end["units"]][-3:] == [start["next_id"] + i for i in range(3)]
    undone = client.post("undo", {"revision": end["revision"], "steps": 3})
    assert undone["units"] == start["units"]
    again = client.post("redo", {"revision": undone["revision"], "steps": 3})
    assert again == end
    merged = next(unit for unit in end["units"] if unit["id"] == start["next_id"])
    assert sorted(merged["from"]) == sorted(map(str, (a, b, c)))


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ({"do": "merge", "units": [0]}, "2 or more"),
        ({"do": "merge", "units": [0, 999]}, "unit 999 is not there"),
        ({"do": "explode"}, "do: found 'explode'"),
        ({"do": "split", "unit": 0, "by": "time", "at_s": -1.0}, "would be split into"),
        ({"do": "split", "unit": 0, "by": "amplitude", "points": [[0, 1]]}, "two points of a line"),
        ({"do": "split", "unit": 999, "by": "amplitude", "points": [[0, 1], [1, 1]]}, "no unit 999"),
        ({"do": "mark", "units": [0], "label": "two\nlines"}, "on one line"),
        ([], "expected"),
    ],
)
def test_what_cannot_be_done_says_why_and_leaves_no_file(looking: Any, looked_at: Path, step: Any, words: str) -> None:
    answer = looking.post("act", {"revision": "", "step": step}, expected=400)
    assert words in answer["error"]
    assert not (looked_at / "decisions.json").exists()


def test_traces_are_those_of_the_binary(looking: Any, looked_at: Path) -> None:
    recording = Results.open(looked_at).recording
    answer = looking.get("traces?start=1000&frames=300&pixels=1000&channels=2,0")
    assert (answer["start"], answer["end"], answer["step"]) == (1000, 1300, 1)
    counts = decoded(answer["counts"], "<i2").reshape(2, 300)
    assert np.array_equal(counts, recording.counts[1000:1300, [2, 0]].T)


def test_thinned_traces_keep_the_least_and_the_largest_of_each_pixel(looking: Any, looked_at: Path) -> None:
    recording = Results.open(looked_at).recording
    answer = looking.get("traces?start=500&frames=10007&pixels=100&channels=1")
    step, counts = answer["step"], decoded(answer["counts"], "<i2")
    assert step == 101
    whole = recording.counts[500:10_507, 1]
    for place in (0, 5, len(counts) // 2 - 1):
        part = whole[place * step : (place + 1) * step]
        assert (part.min(), part.max()) == tuple(counts[2 * place : 2 * place + 2])
    assert len(counts) == 2 * -(-10_007 // step)


def test_spikes_of_a_window_equal_the_trains_also_of_merged_units(client: Any, copied: Path) -> None:
    results = Results.open(copied)
    ids = [unit["id"] for unit in client.get("state")["units"]]
    client.act(do="merge", units=ids[:2])
    trains = regrouped(results.trains, state_of(read(copied / "decisions.json"), results.trains, 20_000.0))
    answer = client.get("traces?start=20000&frames=40000&pixels=500&channels=0")
    found = {entry["unit"]: entry["frames"] for entry in answer["spikes"]}
    expected = {
        int(unit): [frame for frame in frames.tolist() if 20_000 <= frame < 60_000]
        for unit, frames in zip(trains.unit_ids, trains.samples, strict=True)
    }
    assert found == {unit: frames for unit, frames in expected.items() if frames}
    assert not answer["more_spikes"]


def test_a_window_beyond_the_recording_is_moved_into_it(looking: Any, looked_at: Path) -> None:
    n_samples = Results.open(looked_at).recording.n_samples
    answer = looking.get("traces?start=999999999&frames=100&pixels=100&channels=0")
    assert (answer["start"], answer["end"]) == (n_samples - 100, n_samples)
    answer = looking.get("traces?start=-5&frames=999999999&pixels=100&channels=0")
    assert (answer["start"], answer["end"]) == (0, n_samples)


def test_next_spike_goes_from_spike_to_spike(looking: Any, looked_at: Path) -> None:
    trains = Results.open(looked_at).trains
    unit, frames = int(trains.unit_ids[0]), trains.samples[0].tolist()
    assert looking.get(f"spike?unit={unit}&after=-1")["frame"] == frames[0]
    assert looking.get(f"spike?unit={unit}&after={frames[0]}")["frame"] == frames[1]
    assert looking.get(f"spike?unit={unit}&after={frames[1]}&back=1")["frame"] == frames[0]
    assert looking.get(f"spike?unit={unit}&after={frames[-1]}")["frame"] is None


def test_a_line_through_amplitudes_splits_every_spike(client: Any, copied: Path) -> None:
    trains = Results.open(copied).trains
    unit, frames = int(trains.unit_ids[0]), trains.samples[0]
    shown = client.get(f"projection?unit={unit}&by=amplitude")
    times, amplitudes = decoded(shown["x"], "<f4"), decoded(shown["y"], "<f4")
    assert np.allclose(times, frames / 20_000.0)
    level = float(np.median(amplitudes))
    after = client.act(do="split", unit=unit, by="amplitude", points=[[0.0, level], [6.0, level]])
    second = read(copied / "decisions.json").steps[0]["into"][1]
    assert next(entry["n"] for entry in after["units"] if entry["id"] == second) == int((amplitudes < level).sum())
    assert set(after["steps"][0]) == {"do", "unit", "into", "by"}  # the page has no use for a bit for each spike


def test_a_line_through_a_unit_that_has_the_id_of_an_undone_one_splits_its_own_spikes(client: Any) -> None:
    unit, new = client.get("state")["units"][0], client.get("state")["next_id"]
    for half in (slice(None, unit["n"] // 2), slice(unit["n"] - unit["n"] // 2, None)):
        second = np.zeros(unit["n"], dtype=bool)
        second[half] = True
        made = client.act(do="split", unit=unit["id"], by="given", second=packed(second))
        shown = client.get(f"projection?unit={new + 1}&by=amplitude")
        first = client.get(f"spike?unit={new + 1}&after=-1")["frame"]
        assert decoded(shown["x"], "<f4")[0] == pytest.approx(first / 20_000.0)
        client.post("undo", {"revision": made["revision"]})


def test_units_that_have_the_id_of_an_undone_one_are_told_apart(client: Any) -> None:
    first, second = (unit["id"] for unit in client.get("state")["units"][:2])
    new, made = client.get("state")["next_id"], []
    for unit in (first, second, first):
        after = client.act(do="split", unit=unit, by="time", at_s=3.0)
        made.append(next(entry["made"] for entry in after["units"] if entry["id"] == new))
        assert {entry["made"] for entry in after["units"] if entry["id"] < new} == {""}
        client.post("undo", {"revision": after["revision"]})
    assert made[0] == made[2] != made[1]
    assert "" not in made


def test_a_lasso_around_components_takes_what_is_inside(client: Any) -> None:
    unit = client.get("state")["units"][0]
    shown = client.get(f"projection?unit={unit['id']}&by=projection")
    x, y = decoded(shown["x"], "<f4"), decoded(shown["y"], "<f4")
    middle = float(np.median(x))
    box = [[x.min() - 1, y.min() - 1], [middle, y.min() - 1], [middle, y.max() + 1], [x.min() - 1, y.max() + 1]]
    after = client.act(do="split", unit=unit["id"], by="projection", points=[list(map(float, point)) for point in box])
    assert after["units"][-1]["n"] == int((x < middle).sum())
    assert after["units"][-2]["n"] == int((x >= middle).sum())


def test_the_first_component_is_the_one_of_most_variance(looking: Any) -> None:
    unit = looking.get("state")["units"][0]["id"]
    shown = looking.get(f"projection?unit={unit}&by=projection")
    assert decoded(shown["x"], "<f4").var() >= decoded(shown["y"], "<f4").var()


def test_results_that_were_sorted_again_take_no_decisions_on_other_spikes(client: Any, copied: Path) -> None:
    unit = client.get("state")["units"][0]["id"]
    trains = Results.open(copied).trains
    SpikeTrains.from_dict({7: trains.samples[0].tolist()}).save(copied / "stages" / "sorting" / "spikes.npz")
    path = copied / "stages" / "sorting" / "manifest.json"
    os.utime(path, ns=(1, 1))  # another sort has written it
    step = {"do": "mark", "units": [unit], "label": "x"}
    answer = client.post("act", {"revision": "", "step": step}, expected=400)
    assert "spikes.npz" in answer["error"] or "other units or spikes" in answer["error"]
    assert not (copied / "decisions.json").exists()


def test_evidence_on_a_unit_that_was_merged_now_has_the_spikes_of_both(client: Any, copied: Path) -> None:
    first, second = client.get("state")["units"][:2]
    after = client.act(do="merge", units=[first["id"], second["id"]])
    merged = after["units"][-1]
    found = client.get(f"unit?id={merged['id']}")
    assert found["n_spikes"] == merged["n"]
    assert found["attributes"]["merged_from"] == [first["id"], second["id"]]
    assert {entry["id"] for entry in found["similar"]}.isdisjoint({first["id"], second["id"]})
    alone = client.get(f"unit?id={after['units'][0]['id']}")
    assert alone["n_spikes"] == after["units"][0]["n"]
    assert client.ask("GET", f"/api/unit?id={first['id']}")[0] == 400  # it is gone

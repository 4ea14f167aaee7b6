"""Sorts compared unit by unit: counts, matches, reasons, consensus, notes, tables, the page and the command."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simulated import UNCURATED, Simulated, save_recording, simulate
from spikelab import SpikeData
from spikelab.spike_sorting import compare_sorts, sort_recording
from spikelab.spike_sorting.data.matching import best_pairs, overlap_of

LENGTH_MS = 60_000.0


def train(seed: int, n: int = 300) -> np.ndarray:
    """Times at least 3 ms apart."""
    rng = np.random.default_rng(seed)
    return np.sort(rng.choice(np.arange(10.0, LENGTH_MS - 10, 3.0), n, replace=False))


def units(trains: list[np.ndarray], **more: list[object]) -> SpikeData:
    attributes = [{"unit_id": i, **{name: values[i] for name, values in more.items()}} for i in range(len(trains))]
    return SpikeData(trains, length=LENGTH_MS, neuron_attributes=attributes, metadata={"fs_Hz": 20_000.0})


# Counting


def test_common_spikes_are_those_within_the_window() -> None:
    a, b = [np.array([10.0, 20.0, 30.0])], [np.array([10.4, 20.5, 29.6]), np.array([10.0])]
    found = overlap_of(a, b, 0.4)
    assert found.n_common.tolist() == [[2, 1]]
    np.testing.assert_allclose(found.agreement, [[2 / 4, 1 / 3]])


def test_one_spike_has_one_partner_however_many_are_near() -> None:
    assert overlap_of([np.array([10.0])], [np.array([9.9, 10.1])], 0.4).n_common.tolist() == [[1]]
    assert overlap_of([np.array([9.9, 10.1])], [np.array([10.0])], 0.4).n_common.tolist() == [[1]]


def test_counts_do_not_depend_on_how_much_is_looked_at_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting.data import matching

    rng = np.random.default_rng(0)
    a = [train(i, 60) for i in range(3)]
    b = [np.sort(own + rng.uniform(-0.6, 0.6, 60)) for own in a]
    by_hand = [[min((np.abs(x[:, None] - y) <= 0.4).any(k).sum() for k in (0, 1)) for y in b] for x in a]
    for chunk in (7, 1 << 20):
        monkeypatch.setattr(matching, "CHUNK", chunk)
        assert overlap_of(a, b, 0.4).n_common.tolist() == by_hand


@pytest.mark.slow  # SpikeInterface compiles its count
def test_counts_are_those_of_spikeinterface(monkeypatch: pytest.MonkeyPatch) -> None:
    comparisontools = pytest.importorskip("spikeinterface.comparison.comparisontools")
    from spikeinterface.core import NumpySorting

    from spikelab.spike_sorting.data import matching

    monkeypatch.setattr(matching, "CHUNK", 100)  # of many
    rng = np.random.default_rng(0)
    a = [train(i, 200) for i in range(4)]
    b = [np.sort(a[i] + rng.uniform(-0.6, 0.6, 200)) for i in (2, 0, 1)] + [train(9)]
    sortings = [
        NumpySorting.from_unit_dict({i: np.round(own * 1000).astype(int) for i, own in enumerate(side)}, 1e6)
        for side in (a, b)
    ]
    rounded = [[np.round(own * 1000) / 1000 for own in side] for side in (a, b)]
    expected = comparisontools.make_match_count_matrix(*sortings, delta_frames=400)
    np.testing.assert_array_equal(overlap_of(*rounded, 0.4).n_common, expected.to_numpy())


def test_no_spikes_and_no_units_are_no_fault() -> None:
    assert overlap_of([np.empty(0)], [], 0.4).n_common.shape == (1, 0)
    assert overlap_of([np.empty(0)], [np.array([1.0])], 0.4).agreement.tolist() == [[0.0]]
    compared = compare_sorts(units([]), units([train(0)]))
    assert [row["why"] for row in compared.alone] == ["in its noise"]


def test_a_thousand_units_are_matched_at_once() -> None:
    rng = np.random.default_rng(0)
    a = [np.sort(rng.uniform(0, LENGTH_MS, 40)) for _ in range(1000)]
    order = rng.permutation(1000)
    found = overlap_of(a, [a[i] for i in order], 0.1)
    assert best_pairs(found.agreement, 0.5) == [(int(i), j) for i, j in sorted(zip(order, range(1000), strict=True))]


def test_pairs_below_the_limit_take_no_partner_from_those_above() -> None:
    agreement = np.array([[0.55, 0.45], [0.45, 0.0]])
    assert best_pairs(agreement, 0.5) == [(0, 0)]


# What each alone has


def test_matched_units_and_why_the_others_are_alone() -> None:
    same, whole, left, right, lost, faint, half = (train(seed) for seed in range(7))
    rng = np.random.default_rng(0)
    kept = np.sort(rng.choice(half, 120, replace=False))
    a = units(
        [same, whole, np.sort(np.concatenate([left, right])), lost, faint, half],
        amplitude=[90.0, 80.0, 70.0, 60.0, 12.0, 50.0],
        snr=[9.0] * 6,
    )
    b = units([same + 0.1, whole[::2], whole[1::2], left, right, kept], amplitude=[90.0, 40.0, 41.0, 70.0, 70.0, 50.0])
    compared = compare_sorts(a, b, names=["one", "other"], min_agreement=0.6)
    assert [(row["unit_a"], row["unit_b"], row["agreement"]) for row in compared.matched] == [(0, 0, 1.0)]
    in_one = {row["unit"]: row for row in compared.alone if row["in"] == "one"}
    assert {unit: row["why"] for unit, row in in_one.items()} == {
        1: "split",
        2: "split",
        3: "in its noise",
        4: "below its amplitudes",
        5: "found in part",
    }
    assert in_one[1]["units"] == [1, 2]
    assert in_one[1]["detail"] == "split over units 1 and 2 there, which have 100 % of it"
    assert in_one[4]["detail"] == "12 uV; the smallest unit there has 40 uV"
    assert in_one[5]["detail"] == "unit 5 there has 40 % of its spikes, among 120"
    in_other = {row["unit"]: row for row in compared.alone if row["in"] == "other"}
    assert {unit: row["why"] for unit, row in in_other.items()} == {
        1: "merged",
        2: "merged",
        3: "merged",
        4: "merged",
        5: "found in part",
    }  # fmt: skip


def test_a_unit_that_another_swallowed_is_merged() -> None:
    large, small = train(0, 600), train(1, 150)
    both = np.sort(np.concatenate([large, small]))
    compared = compare_sorts(units([large, small]), units([both]), names=["one", "other"])
    (alone,) = compared.alone
    assert (alone["unit"], alone["why"], alone["units"]) == (1, "merged", [0])
    assert alone["detail"] == "100 % of it is in unit 0 there, together with unit 0"


def test_a_ground_truth_judges_each_of_its_units() -> None:
    true = [train(seed) for seed in range(3)]
    found = units([np.sort(np.concatenate([true[1][:240], train(8, 60)])), true[2][:100]])
    compared = compare_sorts(found, units(true), names=["mine", "true"], truth=True)
    rows = {row["unit_b"]: row for row in compared.matched}
    assert [rows[unit]["found"] for unit in range(3)] == [False, True, False]
    assert (rows[1]["recall"], rows[1]["precision"]) == (0.8, pytest.approx(0.8, abs=0.01))
    assert rows[1]["accuracy"] == pytest.approx(240 / 360, abs=0.01)
    assert (rows[2]["unit_a"], rows[2]["recall"]) == (1, pytest.approx(1 / 3))
    assert compared.truth == "true"


def test_several_sorts_have_a_consensus_with_one_unit_of_each() -> None:
    x, y, z = (train(seed) for seed in range(3))
    compared = compare_sorts(units([x, y]), units([y, x, z]), units([x[:250]]), names=["p", "q", "r"])
    rows = [(row["n_agree"], row["unit in p"], row["unit in q"], row["unit in r"]) for row in compared.consensus]
    assert rows == [(3, 0, 1, 0), (2, 1, 0, None), (1, None, 2, None)]
    assert compared.consensus[0]["least_agreement"] == pytest.approx(250 / 300)


# What is compared


def test_another_length_and_rate_are_told_and_the_common_part_is_compared() -> None:
    own = train(0)
    short = SpikeData([own[own < 30_000.0]], length=30_000.0, metadata={"fs_Hz": 30_000.0})
    with (
        pytest.warns(UserWarning, match="sorted at 20000 Hz and other at 30000 Hz"),
        pytest.warns(UserWarning, match="one lasts 60 s and other 30 s.*The first 30 s are compared"),
    ):
        compared = compare_sorts(units([own]), short, names=["one", "other"])
    assert compared.matched[0]["agreement"] == 1.0
    assert len(compared.notes) == 2


def test_sorts_of_other_files_are_doubted_unless_their_traces_are_the_same() -> None:
    from spikelab.spike_sorting.comparison.about import doubts
    from spikelab.spike_sorting.comparison.sides import Side

    def side(name: str, *known_by: str) -> Side:
        return Side(name, name, "results", (), (), np.ones(0, dtype=bool), recording=frozenset(known_by))

    assert doubts([side("a", "file", "traces"), side("b", "moved", "traces"), side("c")]) == []
    (note,) = doubts([side("a", "file", "traces"), side("b", "other", "others")])
    assert "a and b were not sorted from the same file" in note


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    one = units([train(0)])
    for settings, said in (
        ({"delta_ms": -1.0}, "delta_ms must be"),
        ({"min_agreement": 0.0}, "min_agreement must be"),
        ({"units": "some"}, "units must be"),
        ({"names": ["a"]}, "names has 1 names for 2 sorts"),
        ({"names": ["a", "a"]}, "names has a name twice"),
    ):
        with pytest.raises(ValueError, match=said):
            compare_sorts(one, one, **settings)  # type: ignore[arg-type]
    with pytest.raises(FileNotFoundError, match="no file or folder"):
        compare_sorts(one, tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="nothing that units are read from"):
        compare_sorts(one, tmp_path / "empty")


@pytest.mark.parametrize("suffix", [".npz", ".h5", ".pkl"])
def test_files_of_units_are_compared(tmp_path: Path, suffix: str) -> None:
    one = units([train(0), train(1)])
    one.save(tmp_path / f"units{suffix}")
    compared = compare_sorts(one, tmp_path / f"units{suffix}")
    assert [row["agreement"] for row in compared.matched] == [1.0, 1.0]
    assert compared.names == ("in memory", "units")


def test_folders_of_other_programs_are_compared(tmp_path: Path) -> None:
    from spikeinterface.core import NpzSortingExtractor, NumpySorting

    own = train(0)
    sorting = NumpySorting.from_unit_dict({"a": np.round(own * 30).astype(int)}, 30_000.0)
    NpzSortingExtractor.write_sorting(sorting, tmp_path / "theirs.npz")
    compared = compare_sorts(SpikeData([own], length=LENGTH_MS), tmp_path / "theirs.npz")
    assert [(row["unit_b"], row["agreement"]) for row in compared.matched] == [("a", 1.0)]


@pytest.fixture(scope="module")
def sorts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Simulated]:
    """Two results of one recording: all units, and those with the largest SNR."""
    base, sim = tmp_path_factory.mktemp("sorts"), simulate(n_units=3, n_channels=4, duration_s=4.0)
    options = {"sorter": "threshold", "create_figures": False, "delete_inter": False, **UNCURATED}
    options["intermediate_folders"] = [base / "inter"]  # the traces are filtered once
    (every,) = sort_recording([sim.recording], results_folders=[base / "all"], **options)
    options["snr_min"] = float(np.median([unit["snr"] for unit in every.unit_attributes]))
    options |= {
        "n_jobs": 2,
        "compile_to_npz": False,
        "streaming": False,
        "motion": "estimate",
        "rt_sort_verbose": False,
    }
    sort_recording([sim.recording], results_folders=[base / "strict"], **options)
    return base / "all", base / "strict", sim


def test_a_unit_that_curation_dropped_is_said_to_be_with_the_criterion(sorts: tuple[Path, Path, Simulated]) -> None:
    every, strict, sim = sorts
    compared = compare_sorts(every, strict)
    gone = [row for row in compared.alone if row["in"] == "all"]
    assert gone
    assert {row["why"] for row in gone} == {"dropped by curation"}
    assert all("dropped by snr" in row["detail"] and "snr_min" in row["detail"] for row in gone)
    assert [[*list(row)[:2], row["name"]] for row in compared.settings] == [["name", "in all", "snr_min"]]
    assert compared.versions == []
    assert compared.notes == []
    both = compare_sorts(every, strict, units="all")
    assert [row["n_units"] for row in both.sorts] == [3, 3]
    judged = compare_sorts(strict, SpikeData(sim.trains_ms, length=4000.0), truth=True, units="all")
    assert all(row["found"] for row in judged.matched)


def test_a_unit_that_a_person_dropped_is_said_to_be(sorts: tuple[Path, Path, Simulated], tmp_path: Path) -> None:
    from spikelab.spike_sorting import curate_results

    every, _, sim = sorts
    decided = tmp_path / "decided"
    folders = {"results_folders": [decided], "intermediate_folders": [every.with_name("inter")]}
    options = {"sorter": "threshold", "create_figures": False, "delete_inter": False, **UNCURATED}
    path = save_recording(sim.recording, tmp_path / "recording")
    sort_recording([path], **folders, **options)
    curate_results(decided, dropping(decided, 0))
    (alone,) = compare_sorts(every, decided).alone
    assert (alone["unit"], alone["why"]) == (0, "dropped by curation")
    assert alone["detail"] == "unit 0 there, dropped by hand"


def dropping(results: Path, unit: int) -> Any:
    from spikelab.spike_sorting.decisions import Decisions, state_of, with_step
    from spikelab.spike_sorting.run.results import Results

    opened = Results.open(results)
    decisions = Decisions.on(opened.trains)
    state = state_of(decisions, opened.trains, opened.recording.sampling_frequency)
    return with_step(decisions, {"do": "mark", "units": [unit], "verdict": "drop"}, state)[0]


def test_tables_are_written_as_csv(tmp_path: Path) -> None:
    compared = compare_sorts(units([train(0), train(1)]), units([train(0)]), names=["=one", "other"])
    written = compared.to_csv(tmp_path / "tables")
    assert [path.name for path in written] == ["sorts.csv", "matched.csv", "alone.csv"]
    with (tmp_path / "tables" / "alone.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["in"], row["unit"], row["why"], row["units"]) == ("'=one", "1", "in its noise", "")


HOSTILE = "<img src=x onerror=alert(1)>\"'"


def test_the_page_holds_everything_and_runs_nothing(tmp_path: Path) -> None:
    a = units([train(0), train(1)], imported_label=[HOSTILE, HOSTILE])
    compared = compare_sorts(a, units([train(0)]), names=[HOSTILE, "other"])
    page = compared.to_html(tmp_path / "page.html").read_text()
    assert "<img" not in page
    assert 'onerror=alert(1)>"' not in page
    assert "in its noise" in page
    assert "http" not in page.replace("http-equiv", "")
    several = compare_sorts(a, units([train(0)]), units([train(0)]), names=[HOSTILE, "q", "r"])
    page = several.to_html(tmp_path / "several.html").read_text()
    assert "<img" not in page
    assert "Units that several agree on" in page


def test_the_page_of_a_ground_truth_has_its_measures(tmp_path: Path) -> None:
    compared = compare_sorts(units([train(0)]), units([train(0), train(1)]), names=["mine", "true"], truth=True)
    page = compared.to_html(tmp_path / "page.html").read_text()
    assert all(word in page for word in ("ground truth", "Recall", "Precision", "Units of true, found in mine"))


# The command


def test_the_command_prints_what_came_out_and_writes_the_page(
    run: object, sorts: tuple[Path, Path, Simulated], tmp_path: Path
) -> None:
    every, strict, _ = sorts
    page = tmp_path / "compared.html"
    result = run("compare", every, strict, "--out", page, "--csv", tmp_path / "tables")  # type: ignore[operator]
    assert result.exit_code == 0, result.stderr
    assert "dropped by curation" in result.stdout
    assert "snr_min" in result.stdout
    assert str(page) in result.stdout
    assert page.is_file()
    assert (tmp_path / "tables" / "alone.csv").is_file()


def test_the_command_says_what_it_lacks(run: object, sorts: tuple[Path, Path, Simulated], tmp_path: Path) -> None:
    every, _, sim = sorts
    result = run("compare", every)  # type: ignore[operator]
    assert result.exit_code == 2
    assert "give at least two" in result.stderr
    result = run("compare", every, tmp_path / "nothing")  # type: ignore[operator]
    assert result.exit_code == 3
    assert "no file or folder" in result.stderr
    SpikeData(sim.trains_ms, length=4000.0).save(tmp_path / "true.npz")
    result = run("compare", every, "--truth", tmp_path / "true.npz")  # type: ignore[operator]
    assert result.exit_code == 0, result.stderr
    assert "recall" in result.stdout

"""``spikelab validate``, ``curate`` and ``sort --again``: what is said, and how they end."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import Result

from spikelab.cli import _validate, cli
from spikelab.cli._ending import one_by_one
from spikelab.spike_sorting.data import Validation
from spikelab.spike_sorting.data.validation import ABOUT


def validation(accuracies: dict[int, float], **summary: Any) -> Validation:
    """What a validation tells of units, with these expected accuracies; a stability of 1 where they are known."""
    units = {
        unit: dict.fromkeys(ABOUT, accuracy) | {"stability": 0.5 if math.isnan(accuracy) else 1.0}
        for unit, accuracy in accuracies.items()
    }
    return Validation([], units, {"n_injected": 6, "n_found": 4, "smallest_snr": None, "n_new": 0.0} | summary)


def test_units_of_which_nothing_is_known_stand_last(monkeypatch: pytest.MonkeyPatch) -> None:
    found = validation({1: math.nan, 2: 0.9, 3: math.nan, 4: 0.2, 5: 0.5, 0: 0.5})
    rows = [line.split() for line in _validate.units_table(found, {2, 3}, every_unit=True).splitlines()[1:]]
    assert [int(row[0]) for row in rows] == [4, 0, 5, 2, 1, 3]
    assert [" ".join(row).endswith("not kept") for row in rows] == [True, True, True, False, True, False]
    monkeypatch.setattr(_validate, "MOST_ROWS", 4)
    shown = _validate.units_table(found, {2, 3}, every_unit=False).splitlines()
    assert [int(line.split()[0]) for line in shown[1:5]] == [4, 0, 5, 2]
    assert shown[5] == "and 2 more, which are better or not known (--all-units)"


def test_means_are_of_the_units_that_were_kept_and_of_all() -> None:
    found = validation({1: 0.9, 2: 0.5, 3: math.nan})
    said = "\n".join(_validate.summary_lines(found, {1, 3}))
    assert "expected accuracy on average: 0.900 of 1 units that were kept, 0.700 of all 2" in said
    assert "0.750 of 2 units that were kept, 0.833 of all 3; 0 new units" in said
    assert "1 units are like no injected neuron" in said
    assert "expected accuracy on average: 0.700 of all 2" in "\n".join(_validate.summary_lines(found, {1, 2}))
    assert "expected accuracy" not in "\n".join(_validate.summary_lines(validation({1: math.nan}), {1}))


@pytest.mark.parametrize(
    ("n_found", "words"),
    [(6, "all of them were"), (0, "none of them was"), (3, "are not larger than those that were not")],
)
def test_where_no_smallest_snr_is_known_the_line_says_why(n_found: int, words: str) -> None:
    line = _validate.summary_lines(validation({1: 0.9}, n_found=n_found), {1})[1]
    assert line.startswith("they do not tell from which SNR on 80 % are found: ")
    assert line.endswith(words)
    known = _validate.summary_lines(validation({1: 0.9}, smallest_snr=[5.0, 4.0, 6.0]), {1})[1]
    assert known == "from an SNR of 5.0 on 80 % are found (90 % interval 4.0 to 6.0)"


def test_a_folder_that_fails_costs_the_others_nothing(
    run: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    began = []

    def told(results: Path, **_: Any) -> str:
        began.append(results.name)
        if results.name == "bad":
            raise FileNotFoundError("there is no sort")
        return f"{results.name} is right"

    monkeypatch.setattr(_validate, "validate_text", told)
    done = run("validate", tmp_path / "a", tmp_path / "bad", tmp_path / "c")
    assert began == ["a", "bad", "c"]
    assert done.stdout.splitlines() == ["a is right", "c is right"]
    assert done.exit_code == 3
    assert done.stderr.count(f"{tmp_path / 'bad'}: there is no sort") == 2
    assert "error: 1 of 3 failed:" in done.stderr
    alone = run("validate", tmp_path / "bad")
    assert (alone.exit_code, alone.stderr.strip()) == (3, "error: there is no sort")
    assert run("validate", tmp_path / "a", tmp_path / "c").exit_code == 0


def test_each_folder_is_told_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    def tell(folder: Path) -> str:
        assert capsys.readouterr().out == ("" if folder.name == "a" else "this is a\n")
        return f"this is {folder.name}"

    assert one_by_one([Path("a"), Path("b")], tell) == 0
    with pytest.raises(click.UsageError):
        one_by_one([Path("a")], lambda _: (_ for _ in ()).throw(click.UsageError("no")))


@pytest.mark.parametrize(
    ("given", "wanted"),
    [("2", 2), ("rt_sort", ["rt_sort"]), ("rt_sort, spikeinterface:lupin", ["rt_sort", "spikeinterface:lupin"])],
)
def test_again_takes_times_and_sorters(given: str, wanted: Any) -> None:
    with cli.commands["sort"].make_context("sort", ["dish", "--again", given]) as context:
        assert context.params["again"] == wanted


@pytest.mark.parametrize("given", ["0", "-1", "", "rt_sort,", ","])
def test_again_refuses_what_is_neither(given: str) -> None:
    with pytest.raises(click.BadParameter, match="neither a number, 1 or more, nor names of sorters"):
        cli.commands["sort"].make_context("sort", ["dish", "--again", given])

"""``spikelab view`` on the command line, and the other program that it opens."""

from __future__ import annotations

import importlib.machinery
import json
import random
import sys
import types
import webbrowser
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting.decisions import read
from spikelab.spike_sorting.run.results import Results
from spikelab.spike_sorting.view import serving, spikeinterface_gui
from spikelab.spike_sorting.view.claim import FOLDER
from spikelab.spike_sorting.view.server import Server
from spikelab.spike_sorting.view.session import Session


@pytest.fixture
def interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C as soon as the server answers."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "serve_forever", stop)


def test_it_says_where_opens_the_browser_and_ends_in_order(
    run: Callable[..., Any], copied: Path, interrupted: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address) or True)
    result = run("view", copied)
    assert result.exit_code == 0, result.output
    (address,) = [line.strip() for line in result.output.splitlines() if "http://127.0.0.1:" in line]
    assert "?token=" in address
    assert opened == [address]
    assert not (copied / FOLDER).exists()
    assert run("view", copied, "--no-browser").exit_code == 0
    assert len(opened) == 1


def test_what_cannot_be_shown_is_an_error_with_a_code(run: Callable[..., Any], tmp_path: Path, copied: Path) -> None:
    result = run("view", tmp_path)
    assert result.exit_code == 3
    assert "no results folder" in result.output
    result = run("view", copied, "--gui", "phy")
    assert result.exit_code == 2
    assert "there is spikeinterface" in result.output


def test_a_folder_that_cannot_be_written_to_is_shown_and_nothing_is_kept(
    copied: Path, served: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "is_read_only", lambda _: True)
    client = served(copied)
    state = client.get("state")
    assert state["read_only"]
    step = {"do": "mark", "units": [state["units"][0]["id"]], "label": "x"}
    assert "cannot be written to" in client.post("act", {"revision": "", "step": step}, 400)["error"]
    assert not (copied / FOLDER).exists()


@pytest.mark.parametrize("number", [60, pytest.param(1000, marks=pytest.mark.slow)])
def test_random_steps_and_as_many_undos_leave_the_units_as_they_were(copied: Path, number: int) -> None:
    session, rng = Session(Results.open(copied)), random.Random(number)
    start = session.state()
    made, seen = 0, [json.dumps(start["units"])]
    while made < number:
        state = session.state()
        units = [unit["id"] for unit in state["units"]]
        size = {unit["id"]: unit["n"] for unit in state["units"]}
        one = rng.choice(units)
        step: dict[str, Any] = {"do": "mark", "units": [one], "label": rng.choice(["good", "noise", None, "\u00fc<b>"])}
        if rng.random() < 0.3 and len(units) > 2:
            step = {"do": "merge", "units": rng.sample(units, 2)}
        elif rng.random() < 0.4 and size[one] > 4:
            step = {
                "do": "split",
                "unit": one,
                "by": "time",
                "at_s": float(session.unit(one).frames[size[one] // 2]) / 20_000.0,
            }
        session.act(step, state["revision"])
        seen.append(json.dumps(session.state()["units"]))
        made += 1
    for before in reversed(seen[:-1]):
        assert json.dumps(session.undo({"revision": session.state()["revision"]})["units"]) == before
    again = Session(Results.open(copied))  # another server, after the first
    assert json.dumps(again.state()["units"]) == seen[0]
    assert json.dumps(again.redo({"revision": again.state()["revision"], "steps": number})["units"]) == seen[-1]


def test_a_step_that_cannot_be_written_is_not_taken(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikelab.spike_sorting import decisions

    session = Session(Results.open(copied))
    unit = session.state()["units"][0]["id"]
    session.act({"do": "mark", "units": [unit], "label": "first"}, "")
    before = session.state()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(decisions, "write", full)
    for change in (
        lambda: session.act({"do": "mark", "units": [unit], "label": "second"}, before["revision"]),
        lambda: session.undo({"revision": before["revision"]}),
    ):
        with pytest.raises(OSError, match="No space"):
            change()
        assert session.state() == before


# ---- spikeinterface-gui ----


def fake_gui(monkeypatch: pytest.MonkeyPatch, save: Callable[[Any], None]) -> None:
    """A package spikeinterface_gui, which is installed and whose window does `save`."""
    for name in ("spikeinterface_gui", "panel"):
        module = types.ModuleType(name)
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        monkeypatch.setitem(sys.modules, name, module)

    def run_mainwindow(analyzer: Any, mode: str, curation: bool) -> None:
        assert (mode, curation) == ("web", True)
        save(analyzer)

    sys.modules["spikeinterface_gui"].run_mainwindow = run_mainwindow  # type: ignore[attr-defined]


def test_without_spikeinterface_gui_the_error_says_what_to_install(run: Callable[..., Any], copied: Path) -> None:
    result = run("view", copied, "--gui", "spikeinterface")
    assert result.exit_code == 11
    assert 'pip install "spikeinterface-gui[desktop]' in result.output


def test_decisions_that_wait_keep_the_other_program_closed(
    run: Callable[..., Any], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gui(monkeypatch, lambda _: pytest.fail("it was opened"))
    session = Session(Results.open(copied))
    session.act({"do": "mark", "units": [session.state()["units"][0]["id"]], "label": "x"}, "")
    result = run("view", copied, "--gui", "spikeinterface")
    assert result.exit_code == 3
    assert "not applied yet" in result.output


@pytest.mark.slow
def test_what_was_decided_in_spikeinterface_gui_is_applied(
    run: Callable[..., Any], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids: list[int] = []

    def save(analyzer: Any) -> None:
        ids.extend(int(unit) for unit in analyzer.unit_ids)
        first, second, third, *_ = analyzer.unit_ids.tolist()
        content = {
            "format_version": "2",
            "unit_ids": analyzer.unit_ids.tolist(),
            "label_definitions": {
                "quality": {"name": "quality", "label_options": ["good", "noise", "MUA"], "exclusive": True}
            },
            "manual_labels": [{"unit_id": third, "labels": {"quality": ["good"]}}],
            "merges": [{"unit_ids": [first, second]}],
            "splits": [],
            "removed": [],
        }
        folder = analyzer.folder / spikeinterface_gui.CURATION.parent
        folder.mkdir()
        (folder / spikeinterface_gui.CURATION.name).write_text(json.dumps(content))

    fake_gui(monkeypatch, save)
    result = run("view", copied, "--gui", "spikeinterface")
    assert result.exit_code == 0, result.output
    found = Results.open(copied)
    assert [step["do"] for step in read(copied / "decisions.json").counted] == ["merge", "mark"] or read(
        copied / "decisions.json"
    ).done == 2
    assert found.units.unit_ids == sorted({*ids[2:], max(ids) + 1})
    assert found.units.unit_attributes[0]["label"] == "good"
    assert not (copied / FOLDER).exists()
    fake_gui(monkeypatch, lambda _: None)
    result = run("view", copied, "--gui", "spikeinterface")
    assert "nothing is changed" in result.output

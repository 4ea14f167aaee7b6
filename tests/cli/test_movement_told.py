"""What a sort warns of movement is on the terminal, in the record and in the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from simulated import save_recording, simulate
from spikelab.spike_sorting.recording import motion

WORDS = "the tissue moved by 40 um"


def test_movement_that_a_sorter_does_not_bear_is_told_everywhere(
    tmp_path: Path, run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = motion.measure_binary

    def moved(*args: Any) -> list[motion.Movement]:
        return [replace(found, summary={**found.summary, "moved_um": 40.0, "every_s": 2.0}) for found in measure(*args)]

    monkeypatch.setattr(motion, "measure_binary", moved)
    recording = save_recording(simulate(duration_s=4.0).recording, tmp_path / "recording")
    results = tmp_path / "out"
    settings = ["--sorter", "threshold", "--set", "motion=estimate", "--set", "create_figures=false"]
    done = run("sort", recording, *settings, "--results", results)
    assert done.exit_code == 0, done.output
    assert done.stderr.count(WORDS) == 1
    assert [WORDS in text for text in json.loads((results / "run.json").read_text())["warnings"]].count(True) == 1
    assert WORDS in (results / "report.html").read_text(encoding="utf-8")
    (log,) = results.glob("*.out")
    assert WORDS in log.read_text(encoding="utf-8")

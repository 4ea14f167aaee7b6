"""The page of all parameters is made from the code."""

from __future__ import annotations

from pathlib import Path

import pytest

from spikelab.spike_sorting.rt_sort import _reference
from spikelab.spike_sorting.rt_sort.parameters import NAMES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rt_sort_parameters.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == _reference.render_markdown(), (
        "run python -m spikelab.spike_sorting.rt_sort._reference docs/rt_sort_parameters.md"
    )


def test_every_parameter_has_a_meaning() -> None:
    assert list(_reference.meanings()) == list(NAMES)


def test_it_is_written_to_a_file_or_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _reference.main([str(tmp_path / "page.md")])
    _reference.main([])
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text(encoding="utf-8") == _reference.render_markdown()

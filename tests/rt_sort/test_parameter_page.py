"""The page of all parameters is made from the code."""

from __future__ import annotations

from pathlib import Path

from docs._generate import rt_sort_parameters

from spikelab.spike_sorting.rt_sort.parameters import NAMES

PAGE = Path(__file__).resolve().parents[2] / "docs" / "rt_sort_parameters.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == rt_sort_parameters.render_markdown(), (
        "run python -m docs._generate.rt_sort_parameters docs/rt_sort_parameters.md"
    )


def test_every_parameter_has_a_meaning() -> None:
    assert list(rt_sort_parameters.meanings()) == list(NAMES)

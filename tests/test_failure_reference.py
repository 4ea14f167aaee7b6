"""The page of failures is complete, true, and what is in the documentation."""

from __future__ import annotations

from pathlib import Path

from docs._generate.failures import ADVICE, CATEGORIES, leaf_classes, render_markdown

from spikelab.cli import _output
from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting.failures.signatures import SIGNATURES

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_the_page_in_the_documentation_is_up_to_date() -> None:
    assert (DOCS / "failures.md").read_text(encoding="utf-8") == render_markdown(), "run: make docs"


def test_every_class_is_explained() -> None:
    assert set(leaf_classes()) == set(ADVICE)
    page = render_markdown()
    for kind in (*leaf_classes(), *CATEGORIES):
        assert kind.__name__ in page
    for advice in ADVICE.values():
        assert "first" in advice or "`failures`" in advice or "`reason`" in advice or "doctor" in advice
    assert page.count("\n| ") > len(SIGNATURES)


def test_exit_codes_are_those_of_the_command_line() -> None:
    rows = [line for line in render_markdown().splitlines() if line.startswith("| ")][1:7]
    codes = {line.split("|")[1].strip().partition(" ")[0]: int(line.rstrip("| ").rpartition("|")[2]) for line in rows}
    assert codes == {
        "biological": _output.code_for(errors.SaturatedSignalError("")),
        "bad": _output.code_for(ValueError()),
        "resource": _output.code_for(errors.HostOutOfMemoryError("")),
        "environment": _output.code_for(errors.GPUUnavailableError("")),
        "a": _output.code_for(errors.ConcurrentSortError("")),  # folder in use
        "anything": _output.code_for(RuntimeError()),
    }


def test_every_reason_of_docker_is_explained() -> None:
    from typing import get_args

    assert all(f"`{reason}`" in ADVICE[errors.DockerEnvironmentError] for reason in get_args(errors.DockerReason))

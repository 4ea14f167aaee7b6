"""The page of all settings."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

import pytest

from spikelab.spike_sorting.config import KILOSORT2, SortingPipelineConfig
from spikelab.spike_sorting.settings.fields import default_of, option_of
from spikelab.spike_sorting.settings.keywords import flat_name, flat_names, groups
from spikelab.spike_sorting.settings.reference import render_markdown

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "configuration.md"
SETTINGS = [
    (group, declared) for group, group_type in groups(SortingPipelineConfig).items() for declared in fields(group_type)
]


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == render_markdown(), (
        "run python -m docs._generate.settings docs/configuration.md"
    )


def test_the_page_has_every_setting_with_its_default() -> None:
    assert [flat_name(declared) for _, declared in SETTINGS] == list(flat_names(SortingPipelineConfig))
    page = render_markdown()
    for group, declared in SETTINGS:
        assert getattr(getattr(KILOSORT2, group), declared.name) == default_of(declared)
        assert f"\n| `{declared.name}` | " in page.split(f"\n## {group}\n")[1].split("\n## ")[0]


@pytest.mark.parametrize(("group", "declared"), SETTINGS, ids=lambda value: getattr(value, "name", value))
def test_every_setting_is_described_in_one_line(group: str, declared: Field[Any]) -> None:
    about = option_of(declared)
    assert about.doc.endswith(".")
    assert "\n" not in about.doc
    assert str(about.check)
    assert "|" not in about.doc + str(about.check) + about.unit


@pytest.mark.parametrize("name", ["settings", "failures", "rt_sort_parameters", "commands"])
def test_pages_are_written_to_a_file_or_to_the_terminal(name: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", f"docs._generate.{name}"]
    subprocess.run([*command, str(tmp_path / "page.md")], cwd=ROOT, check=True, timeout=120)
    assert [file.name for file in tmp_path.iterdir()] == ["page.md"]
    written = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert subprocess.run(command, cwd=ROOT, check=True, capture_output=True, encoding="utf-8").stdout == written
    page = {"settings": "configuration"}.get(name, name)
    assert written == (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")

"""The table of all settings, and the page that is made from it."""

from __future__ import annotations

from pathlib import Path

import pytest
from docs._generate.pages import write_page

from spikelab.spike_sorting.config import KILOSORT2, SortingPipelineConfig
from spikelab.spike_sorting.settings import table
from spikelab.spike_sorting.settings.flat import flat_names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "configuration.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text(encoding="utf-8") == table.render_markdown(), (
        "run python -m docs._generate.settings docs/configuration.md"
    )


def test_the_table_has_every_setting_with_its_default() -> None:
    rows = table.field_table()
    assert [setting.keyword for setting in rows] == list(flat_names(SortingPipelineConfig))
    for setting in rows:
        assert getattr(getattr(KILOSORT2, setting.group), setting.name) == setting.default


@pytest.mark.parametrize("setting", table.field_table(), ids=lambda setting: setting.keyword)
def test_every_setting_is_described_in_one_line(setting: table.FieldInfo) -> None:
    assert setting.doc.endswith(".")
    assert "\n" not in setting.doc
    assert setting.values
    assert "|" not in setting.doc + setting.values + setting.unit


def test_the_page_is_written_to_a_file_or_to_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_page(table.render_markdown(), [str(tmp_path / "page.md")])
    assert [file.name for file in tmp_path.iterdir()] == ["page.md"]
    write_page(table.render_markdown(), [])
    assert capsys.readouterr().out == (tmp_path / "page.md").read_text(encoding="utf-8") == table.render_markdown()

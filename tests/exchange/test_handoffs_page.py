"""docs/handoffs.md: its blocks run with those of the other pages; this is what they do not show."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from click.testing import CliRunner

from spikelab.cli import cli
from spikelab.spike_sorting import export_results
from spikelab.spike_sorting.exchange import FORMATS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "handoffs.md"
COMMON = {"--help", "--quiet", "--verbose"}  # of all commands
OF_A_SORT = {"--config", "--preset", "--set", "--trust", "--to", "--intermediate"}  # units of other programs
TEXT = PAGE.read_text(encoding="utf-8")


def test_its_metadata_are_accepted(sorted_days: Path, tmp_path: Path) -> None:
    (block,) = re.findall(r"^```toml\n(.*?)^```$", TEXT, re.M | re.S)
    assert export_results(sorted_days / "out", "nwb", tmp_path / "x.nwb", metadata=tomllib.loads(block)).is_file()


def test_every_format_and_option_is_on_it() -> None:
    assert all(f"`{name}`" in TEXT for name in FORMATS)
    for command in ("export", "import"):
        options = re.findall(r"--[a-z-]+", CliRunner().invoke(cli, [command, "--help"]).output)
        known = COMMON | {"--traces", "--no-traces"} | (OF_A_SORT if command == "import" else set())
        assert {option for option in options if option not in TEXT} <= known

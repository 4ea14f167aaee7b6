"""The Python blocks of docs/handoffs.md run, in order, on a sorted recording."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from simulated import save_recording, simulate_dense
from spikelab import SpikeData
from spikelab.spike_sorting import export_results, sort_recording
from spikelab.spike_sorting.exchange import FORMATS

PAGE = Path(__file__).resolve().parents[1] / "docs" / "handoffs.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.M | re.S)


@pytest.fixture
def culture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A sorted recording by the name that the page uses."""
    pytest.importorskip("pynapple")
    monkeypatch.chdir(tmp_path)
    for day in range(2):
        save_recording(simulate_dense(duration_s=4.0, seed=day).recording, tmp_path / "culture" / f"day{day}")
    results = tmp_path / "sorted_rt_sort_culture"
    settings = {"spikes_min_first": 5, "spikes_min_second": 5, "sorter": "threshold", "n_jobs": 1}
    sort_recording(["culture"], results_folders=[results], **settings)
    return results


def test_its_python_blocks_run(culture: Path) -> None:
    names: dict[str, Any] = {}
    for code in blocks("python"):
        exec(compile(code, str(PAGE), "exec"), names)
    assert names["neurons"].N >= 2
    assert len(names["group"]) == names["neurons"].N
    assert len(names["group"].time_support) == 2
    assert [len(segment.spiketrains) for segment in names["block"].segments] == [names["neurons"].N] * 2
    assert names["table"].shape[0] == names["neurons"].N
    assert names["analyzer"].get_num_units() == names["sorting"].get_num_units() == names["neurons"].N
    assert SpikeData.load(names["path"].with_name("sorted_rt_sort_culture") / "export" / "units.npz").N


def test_its_metadata_are_accepted(culture: Path) -> None:
    (text,) = blocks("toml")
    export_results(culture, "nwb", metadata=tomllib.loads(text))


def test_every_format_is_on_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert all(f"`{name}`" in text for name in FORMATS)


def test_its_commands_exist() -> None:
    from click.testing import CliRunner

    from spikelab.cli import cli

    for line in "".join(blocks("console")).splitlines():
        words = line.split()
        if words[0] == "spikelab":
            shown = CliRunner().invoke(cli, [words[1], "--help"]).output
            assert all(word in shown for word in words if word.startswith("--"))

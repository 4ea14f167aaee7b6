"""What is not installed is named with the command that installs it, and with no other program's name."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting._exceptions import EnvironmentSortFailure
from spikelab.system.extras import DISTRIBUTION, EXTRAS, MODULES, install_command, lacking

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OTHERS = {"all", "docs", "test", "dev"}
INSTALLS = re.compile(r"""pip(?:3|x)?[ ]install[^\n`#]*[ '"]spikelab(?:\[|[\s'"`.,;)=<>~]|$)""")
PAGES = [path for path in ROOT.rglob("*") if path.suffix in (".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".txt")]
HIDDEN = {".venv", ".git", "build", "dist", "_build"}


def test_the_table_is_that_of_pyproject() -> None:
    optional = PROJECT["optional-dependencies"]
    assert {name: list(lines) for name, lines in EXTRAS.items()} == {
        name: [line.partition(";")[0] for line in lines] for name, lines in optional.items() if name not in OTHERS
    }
    assert set(MODULES) == {line.partition(">=")[0] for line in EXTRAS["spikeinterface-sorters"]}


def test_extras_of_extras_are_those_of_this_distribution() -> None:
    assert PROJECT["name"] == DISTRIBUTION
    own = [line for lines in PROJECT["optional-dependencies"].values() for line in lines if line.startswith("spikelab")]
    assert len(own) == 2
    for line in own:
        named = re.fullmatch(rf"{DISTRIBUTION}\[([a-z0-9,-]+)\]", line)
        assert named is not None
        assert set(named[1].split(",")) <= set(PROJECT["optional-dependencies"])


def test_commands_quote_what_a_shell_would_read() -> None:
    assert install_command("nwb") == 'pip install "pynwb>=2.8"'
    assert install_command("kilosort4") == 'pip install "kilosort>=4.1" "torch>=2.4"'


def test_nothing_lacks_where_all_is_installed() -> None:
    for module in MODULES.values():
        import_module(module)
    assert lacking() == lacking("pandas") == ""


def test_only_what_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    assert lacking("pandas") == ""
    assert lacking() == 'the package scikit-learn, which is not installed: pip install "scikit-learn>=1.4.2"'
    for module in ("hdbscan", "pandas"):
        monkeypatch.setitem(sys.modules, module, None)
    assert lacking().startswith("the packages hdbscan, pandas and scikit-learn, which are not installed: pip install ")


def test_metrics_that_cannot_be_had_are_known_before_the_sort(
    saved: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(duration_s=3.0)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(EnvironmentSortFailure, match="si_quality_metrics needs the package pandas"):
        sort_recording([path], sorter="threshold", si_quality_metrics=True, results_folders=[tmp_path / "out"])
    assert not (tmp_path / "out" / "stages" / "sorting").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("pip install spikelab", True),
        ("`pip install spikelab[nwb]`", True),
        ("pip install -U 'spikelab[nwb]'", True),
        ("pip install spikelab-sorting", False),
        ("pip install .  # spikelab", False),
        ("pip install numpy; spikelab-sorting", False),
    ],
)
def test_the_search_finds_what_it_looks_for(text: str, told: bool) -> None:
    assert (INSTALLS.search(text) is not None) == told


def test_nobody_is_told_to_install_another_program() -> None:
    me = {Path(__file__), ROOT / "src/spikelab/system/extras.py"}
    pages = [path for path in PAGES if not HIDDEN & set(path.relative_to(ROOT).parts) and path not in me]
    assert len(pages) > 300
    told = [path for path in pages if INSTALLS.search(path.read_text(encoding="utf-8", errors="replace"))]
    assert told == []

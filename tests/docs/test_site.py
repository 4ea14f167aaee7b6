"""The site builds without a warning, and has what it is there for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "cache")]
    done = subprocess.run(
        [*command, str(ROOT / "docs"), str(folder / "html")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_it_builds_without_a_warning(site: Path) -> None:
    pages = {page.relative_to(ROOT / "docs").with_suffix(".html") for page in (ROOT / "docs").rglob("*.md")}
    assert len(pages) > 15
    assert [page for page in pages if not (site / page).is_file()] == []


def test_the_reference_has_signatures_and_their_documentation(site: Path) -> None:
    text = (site / "api.html").read_text(encoding="utf-8")
    for name in ("sort_recording", "SpikeData.subtime", "RTSort.stream", "InsufficientActivityError", "curate_by_snr"):
        assert f"{name}" in text
    assert "Curated units; one entry per original file" in text


def test_links_out_of_the_folder_lead_somewhere(site: Path) -> None:
    text = (site / "rt_sort.html").read_text(encoding="utf-8")
    assert 'href="benchmarks/rt_sort.html"' in text
    assert "../benchmarks/results" not in text.replace("_images", "")


def test_formulas_and_diagrams_are_not_left_as_text(site: Path) -> None:
    assert 'class="math' in (site / "metrics.html").read_text(encoding="utf-8")
    assert 'class="mermaid' in (site / "architecture.html").read_text(encoding="utf-8")

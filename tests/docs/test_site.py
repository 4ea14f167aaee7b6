"""The notebooks run, the gallery is drawn, the site builds without a warning and has what it is there for."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from docs._generate import gallery, notebooks
from docs._generate.photographs import browser, photograph
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
GENERATED = shutil.ignore_patterns("_build", "gallery", "notebooks")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks run, and what is drawn of it afterwards."""
    return tmp_path_factory.mktemp("scratch")


@pytest.fixture(scope="module")
def cells(scratch: Path) -> dict[str, list[notebooks.Cell]]:
    return {name: notebooks.run(notebooks.SOURCES / f"{name}.ipynb", scratch) for name in notebooks.NAMES}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, cells: dict[str, list[notebooks.Cell]], scratch: Path) -> Path:
    """A copy of the pages, with those that `make docs` writes."""
    root = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "docs", root / "docs", ignore=GENERATED)
    shutil.copytree(ROOT / "benchmarks", root / "benchmarks", ignore=shutil.ignore_patterns("*.py"))
    shutil.copyfile(ROOT / "CHANGELOG.md", root / "CHANGELOG.md")
    (root / "docs" / "notebooks").mkdir()
    for name, ran in cells.items():
        notebooks.write_page(ran, name, root / "docs" / "notebooks")
    gallery.sort_all(scratch)  # of the demo, the sort of the first notebook is loaded
    cheap = [shown for shown in gallery.PICTURES if not shown.file.endswith(".html")]
    gallery.write_gallery(scratch, root / "docs" / "gallery", cheap)
    return root / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, source: Path) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html", "-d", str(folder / "cache")]
    done = subprocess.run([*command, str(source), str(folder / "html")], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_all_notebooks_are_on_the_site_and_are_kept_without_output() -> None:
    assert sorted(notebooks.NAMES) == sorted(path.stem for path in notebooks.SOURCES.glob("*.ipynb"))
    for name in notebooks.NAMES:
        content = json.loads((notebooks.SOURCES / f"{name}.ipynb").read_text(encoding="utf-8"))
        assert (content["nbformat"], content["nbformat_minor"]) == (4, 5)  # with ids of cells
        assert all(not cell.get("outputs") and cell.get("execution_count") is None for cell in content["cells"])


def test_the_first_sort_finds_what_is_there(cells: dict[str, list[notebooks.Cell]]) -> None:
    *_, before, last = (cell for cell in cells["first_sort"] if cell.kind == "code")
    assert re.search(r"^12 of 12 true units were found and kept", last.text, flags=re.MULTILINE)
    assert len(before.pictures) == 1
    text = "".join(cell.text for cell in cells["first_sort"])
    assert "snr_min changed from 5.0 to 4" in text


def test_the_science_finds_the_drug_and_the_connection(cells: dict[str, list[notebooks.Cell]]) -> None:
    text = "".join(cell.text for cell in cells["results_to_science"])
    changes = [int(change) for change in re.findall(r"\(([+-]\d+) %\)", text)]
    assert len(changes) == 12
    assert sum(change < -30 for change in changes) == 9
    assert re.search(r"fires most often \+[34]\.5 ms from unit", text)  # 3 ms; it was put there
    assert sum(len(cell.pictures) for cell in cells["results_to_science"]) == 3


def test_a_cell_that_fails_is_named(tmp_path: Path) -> None:
    notebook = tmp_path / "broken.ipynb"
    cell = {"cell_type": "code", "source": ["1 + 1\n", "2 + 'a'"]}
    notebook.write_text(json.dumps({"cells": [cell]}), encoding="utf-8")
    with pytest.raises(TypeError) as caught:
        notebooks.run(notebook, tmp_path)
    assert caught.traceback[-1].path == "broken.ipynb, cell 0" or "cell 0" in str(caught.traceback[-1].path)


@pytest.mark.skipif(browser() is None, reason="no browser")
def test_pages_are_cut_at_the_end_of_what_is_shown(source: Path, scratch: Path, tmp_path: Path) -> None:
    assert source.is_dir()  # the sorts are done
    page = scratch / "results" / "report.html"
    heights = []
    for parts in (("curation",), ("curation", "quality")):
        assert photograph(page, tmp_path / "page.png", parts)
        with Image.open(tmp_path / "page.png") as picture:
            heights.append(picture.height)
            assert picture.convert("L").crop((0, picture.height - 10, *picture.size)).getextrema()[0] > 200
    assert 300 < heights[0] < heights[1] < 2000
    assert list(page.parent.glob(".*_shown.html")) == []


def test_every_picture_of_the_gallery_has_its_file(source: Path, scratch: Path) -> None:
    assert (source / "gallery" / "index.md").is_file()
    assert [shown.name for shown in gallery.PICTURES if not any(scratch.glob(shown.file))] == []
    for shown in gallery.PICTURES:  # the sections that are shown are sections of the page
        text = min(scratch.glob(shown.file)).read_text(encoding="utf-8") if shown.parts else ""
        assert all(f'<section id="{part}"' in text for part in shown.parts)


def test_it_builds_without_a_warning(site: Path) -> None:
    tracked = (page.relative_to(ROOT / "docs") for page in (ROOT / "docs").rglob("*.md"))
    pages = {page.with_suffix(".html") for page in tracked if page.parts[0] not in ("_build", "gallery", "notebooks")}
    pages |= {Path("gallery/index.html"), *(Path(f"notebooks/{name}.html") for name in notebooks.NAMES)}
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

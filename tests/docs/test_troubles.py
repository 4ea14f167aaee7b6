"""Pictures of the pages on movement, stimulation and artefacts: drawn of scenes that show what the pages say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from docs._generate.troubles import FS, RAIL_UV, beside_artefact, disturbed, drift_map, save, way_um

ROOT = Path(__file__).resolve().parents[2]
PICTURES = {"drift_map": "movement", "around_pulses": "stimulation", "beside_artefact": "artefacts"}


@pytest.mark.filterwarnings("ignore:the tissue moved:UserWarning", "ignore:The extractor is not serializable")
def test_the_drift_map_has_the_course_of_the_scene(tmp_path: Path) -> None:
    top, bottom = drift_map(tmp_path, seconds=8.0).axes
    line = top.lines[0]
    wrong = line.get_ydata() - way_um(line.get_xdata())
    assert np.std(wrong) < 4
    seen, straight = (axes.images[0].get_array().sum(axis=1) for axes in (top, bottom))
    assert np.square(straight).sum() > 1.2 * np.square(seen).sum()


def test_what_rings_is_quiet_with_artifacts(tmp_path: Path) -> None:
    assert np.abs(disturbed().get_traces()).max() == RAIL_UV
    figure = beside_artefact()
    ringing, quiet = (axes.lines[0].get_ydata() for axes in figure.axes)
    before = slice(round(0.012 * FS), round(0.0195 * FS))
    assert np.abs(ringing[before]).max() > 200
    assert np.abs(quiet[before]).max() < 50
    save(figure, tmp_path / "picture.png")
    assert (tmp_path / "picture.png").stat().st_size < 60_000


@pytest.mark.parametrize(("picture", "page"), PICTURES.items())
def test_pages_show_their_pictures(picture: str, page: str) -> None:
    assert f"../images/{picture}.png" in (ROOT / "docs" / "howto" / f"{page}.md").read_text(encoding="utf-8")
    assert (ROOT / "docs" / "images" / f"{picture}.png").stat().st_size < 60_000

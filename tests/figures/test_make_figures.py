from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.figures import FigureRecording, make_figures

Make = Callable[..., FigureRecording]
OVERVIEW = [
    "curation_bar_plot.png",
    "std_scatter_plot.png",
    "all_templates_plot.png",
    "quality_distributions.png",
    "raster_pop_rate.png",
]


def made(recordings: list[FigureRecording], folder: Path, waveforms: Path | None = None, **config: Any) -> list[str]:
    triples = [(recording.name, recording.sd_all, recording.outcome) for recording in recordings]
    full = SortingPipelineConfig.from_kwargs(figures_dpi=40, **config)
    written = make_figures(triples, full, folder, waveforms_folder=waveforms)
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in written]


def test_create_figures_writes_the_overview_the_same_each_time(make_recording: Make, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        assert made([make_recording(n_units=1)], tmp_path / folder, create_figures=True) == OVERVIEW
    for name in OVERVIEW:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    with Image.open(tmp_path / "one" / "raster_pop_rate.png") as image:
        assert image.size == (440, 180)  # 11 by 4.5 inches at 40 dpi


def test_without_the_flags_nothing_is_written(make_recording: Make, tmp_path: Path) -> None:
    assert made([make_recording()], tmp_path) == []


def test_create_unit_figures_writes_a_page_per_unit(make_recording: Make, tmp_path: Path) -> None:
    names = made([make_recording(n_units=3)], tmp_path, create_unit_figures=True)
    assert names == ["units/failed/unit_0000.png", "units/curated/unit_0001.png", "units/curated/unit_0002.png"]


def test_pages_show_the_waveforms_that_are_there(make_recording: Make, tmp_path: Path) -> None:
    source = tmp_path / "waveforms"
    source.mkdir()
    np.save(source / "waveforms_1.npy", np.random.default_rng(0).normal(0, 9, (20, 81, 6)).astype(np.float32))
    recording = make_recording(n_units=3)
    made([recording], tmp_path / "bare", create_unit_figures=True)
    made([recording], tmp_path / "full", source, create_unit_figures=True)

    def page(folder: str, unit: int) -> bytes:
        return (tmp_path / folder / f"units/curated/unit_{unit:04d}.png").read_bytes()

    assert page("bare", 1) != page("full", 1)
    assert page("bare", 2) == page("full", 2)


def test_several_recordings_share_the_overview(
    make_recording: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, path, **_: Path(path).touch())
    recordings = [make_recording("a", n_units=2), make_recording("b", n_units=0)]
    assert made(recordings, tmp_path, create_figures=True, create_unit_figures=True) == OVERVIEW


def test_a_failed_write_leaves_no_litter(make_recording: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(self: Any, path: Path, **_: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", full_disk)
    with pytest.raises(OSError, match="No space left"):
        made([make_recording(n_units=1)], tmp_path, create_figures=True)
    assert not list(tmp_path.iterdir())


def test_drawing_needs_neither_pyplot_nor_a_display() -> None:
    script = "import spikelab.spike_sorting.figures, sys; sys.exit('matplotlib.pyplot' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)

"""Gallery of the reports and figures, drawn from a sort: ``python -m docs._generate.gallery docs/gallery``.

The page is ``index.md`` in that folder. Pictures of pages need a browser (chromium); without one they are left out, and
the page says so.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np
from docs._generate.photographs import photograph
from PIL import Image

from spikelab.demo import LSB_UV, SAMPLING_FREQUENCY, simulate, write_demo_recording
from spikelab.spike_sorting import sort_recording
from spikelab.spike_sorting.batch.in_process import run_jobs
from spikelab.spike_sorting.batch.manifest import jobs_from_entries
from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header

if TYPE_CHECKING:
    from collections.abc import Sequence

INTRODUCTION = """\
# Gallery

What a sort leaves to look at, drawn from the recording of `spikelab demo` when these pages were built.
"""
NO_BROWSER = "*No browser was found when this page was built, so there is no picture of this page.*"
WELLS = 6
EMPTY = 4  # a well without fluid
DRUGS = ("none", "ketamine")
WELL_CHANNELS, WELL_S = 16, 10.0


@dataclass(frozen=True)
class Shown:
    """A picture of the gallery."""

    name: str
    title: str
    words: str
    file: str  # in the scratch folder; of several that fit, the first
    parts: tuple[str, ...] = ()  # of an HTML page: the sections that are shown


PICTURES = (
    Shown(
        "report",
        "The report: outcome, curation, place, quality",
        "`report.html` of every recording ([what is on it](../report.md)): how many units were kept, by which "
        "criterion the others were not, and how all of them stand to the thresholds.",
        "results/report.html",
        ("curation", "probe", "quality"),
    ),
    Shown("activity", "Activity", "In the report.", "results/report.html", ("activity",)),
    Shown("units", "Every unit", "In the report: a row for each.", "results/report.html", ("units",)),
    Shown(
        "overview",
        "A plate",
        "`index.html` lists all recordings of a batch, here wells; the empty well has failed, and the others have not. "
        "What the list says of each (a made-up drug) [makes groups](../howto/plates.md#what-you-know-of-each-well).",
        "sorted_*_overview/index.html",
    ),
    Shown(
        "failure",
        "A recording that could not be sorted",
        "Has a page too: what was found, what to check first, and traces.",
        f"*well00{EMPTY}/report.html",
    ),
    Shown(
        "quality",
        "Quality",
        "`create_figures` draws this and the next four. How the units stand to each threshold.",
        "results/figures/quality_distributions.png",
    ),
    Shown("templates", "Templates", "Each on its main channel.", "results/figures/all_templates_plot.png"),
    Shown("raster", "Raster and population rate", "Of the kept units.", "results/figures/raster_pop_rate.png"),
    Shown("bars", "Units kept", "Of each recording of a call.", "results/figures/curation_bar_plot.png"),
    Shown("scatter", "Spikes and deviation", "For the second round.", "results/figures/std_scatter_plot.png"),
    Shown(
        "unit", "One unit", "`create_unit_figures` draws a page for each unit.", "results/figures/units/curated/*.png"
    ),
)


def write_small_plate(path: Path) -> None:
    """Write a MaxTwo file of wells with some channels of the demo's recording each; one well is flat."""
    traces = simulate(WELL_S)[0].get_traces()
    places = simulate(WELL_S)[0].get_channel_locations()
    with h5py.File(path, "w") as file:
        write_header(file)
        for well in range(WELLS):
            chosen = slice(8 * well, 8 * well + WELL_CHANNELS)
            microvolts = 0 * traces[:, chosen] if well == EMPTY else traces[:, chosen]
            counts = np.clip(np.rint(microvolts / LSB_UV) + 512, 0, 1023).astype(np.uint16).T
            add_well(file, counts, SAMPLING_FREQUENCY, places[chosen], LSB_UV, well=f"well{well:03}")


def sort_all(scratch: Path, duration_s: float = 60.0) -> None:
    """Sort the demo's recording, with all figures, and the plate; what is there already is loaded."""
    recording, plate = scratch / "demo.raw.h5", scratch / "plate.raw.h5"
    write_demo_recording(recording, duration_s)
    write_small_plate(plate)
    options = {"sorter": "rt_sort", "rt_sort_device": "cpu", "save_raw_pkl": True, "n_jobs": 2}
    figures = {"create_figures": True, "create_unit_figures": True}
    sort_recording([recording], results_folders=[scratch / "results"], **options, **figures)
    settings = {"spikes_min_second": 30, "on_failure": "skip"}
    wells = [
        {"file": plate, "stream": f"well{well:03}", "sorter": "threshold", "config": settings, "drug": DRUGS[well % 2]}
        for well in range(WELLS)
    ]
    run_jobs(jobs_from_entries(wells))


def draw(shown: Shown, scratch: Path, folder: Path) -> bool:
    """Write one picture; False where it takes a browser and there is none."""
    source = min(scratch.glob(shown.file))
    picture = folder / f"{shown.name}.png"
    if source.suffix == ".html":
        return photograph(source, picture, shown.parts)
    with Image.open(source) as image:
        image.convert("RGB").quantize(64).save(picture, optimize=True)
    return True


def write_gallery(scratch: Path, folder: Path, pictures: Sequence[Shown] = PICTURES) -> None:
    """Write the page and the pictures of what :func:`sort_all` left."""
    folder.mkdir(parents=True, exist_ok=True)
    parts = [INTRODUCTION]
    for shown in pictures:
        picture = f"![{shown.title}]({shown.name}.png)" if draw(shown, scratch, folder) else NO_BROWSER
        parts += [f"## {shown.title}", shown.words, picture]
    (folder / "index.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def main() -> None:
    """Sort in a scratch folder, and write the gallery."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where page and pictures go")
    folder = parser.parse_args().folder.resolve()
    logging.disable(logging.INFO)
    with tempfile.TemporaryDirectory() as scratch:
        sort_all(Path(scratch))
        write_gallery(Path(scratch), folder)


if __name__ == "__main__":
    main()

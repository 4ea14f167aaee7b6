"""Files of all figures of one or several recordings."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from spikelab.spike_sorting.figures._canvas import FigureRecording, save_figure
from spikelab.spike_sorting.figures.bars import curation_bar_plot
from spikelab.spike_sorting.figures.distributions import quality_distributions
from spikelab.spike_sorting.figures.raster import raster_pop_rate
from spikelab.spike_sorting.figures.scatter import std_scatter_plot
from spikelab.spike_sorting.figures.templates import all_templates_plot
from spikelab.spike_sorting.figures.unit_page import unit_page
from spikelab.system.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
    from spikelab.spikedata import SpikeData

N_OVERVIEW = 5  # figures of `_overview`


def make_figures(
    recordings: Sequence[tuple[str, SpikeData, CurationOutcome]],
    config: SortingPipelineConfig,
    folder: Path,
    *,
    waveforms_folder: Path | None = None,
) -> list[Path]:
    """Draw the figures of one recording, or the combined ones of several, into `folder`; returns the PNG files.

    With ``create_figures``: curation_bar_plot, std_scatter_plot, all_templates_plot, quality_distributions,
    raster_pop_rate. With ``create_unit_figures`` and a single recording also
    ``units/{curated,failed}/unit_{id:04d}.png``; several recordings have their unit pages each in its own folder.
    `waveforms_folder` holds ``waveforms_{unit_id}.npy`` for the unit pages; without these files a page shows the
    template alone.
    """
    wrapped = [FigureRecording(*recording) for recording in recordings]
    written: list[Path] = []
    if config.figures.create_figures:
        with Progress("drawing figures", N_OVERVIEW, "figure") as progress:
            for name, figure in _overview(wrapped, config):
                written.append(save_figure(figure, folder / f"{name}.png"))
                progress.update()
    if config.figures.create_unit_figures and len(wrapped) == 1:
        written += _unit_pages(wrapped[0], config, folder / "units", waveforms_folder)
    return written


def _overview(recordings: Sequence[FigureRecording], config: SortingPipelineConfig) -> Iterator[tuple[str, Figure]]:
    yield "curation_bar_plot", curation_bar_plot(recordings, config.figures)
    yield "std_scatter_plot", std_scatter_plot(recordings, config.curation, config.figures)
    yield "all_templates_plot", all_templates_plot(recordings, config.figures)
    yield "quality_distributions", quality_distributions(recordings, config.curation, config.figures)
    yield "raster_pop_rate", raster_pop_rate(recordings, config.figures)


def _unit_pages(
    recording: FigureRecording, config: SortingPipelineConfig, folder: Path, waveforms_folder: Path | None
) -> list[Path]:
    written = []
    rows = {row["unit_id"]: row for row in recording.outcome.unit_metrics}
    sd = recording.sd_all
    page: Figure | None = None
    with Progress("drawing unit pages", sd.N, "unit") as progress:
        for index, unit in enumerate(sd.unit_ids):
            row = rows[unit]
            path = folder / ("curated" if row["passed"] else "failed") / f"unit_{unit:04d}.png"
            waveforms = None
            if waveforms_folder is not None and (file := waveforms_folder / f"waveforms_{unit}.npy").exists():
                waveforms = np.load(file, mmap_mode="r")
            page = unit_page(sd, index, row, config.figures, waveforms=waveforms, figure=page)
            written.append(save_figure(page, path, compression=1))  # a fifth less time per page
            progress.update()
    return written

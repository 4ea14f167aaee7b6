"""Show several recordings together: figures, and the page ``index.html``."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.batch.units_table import write_units
from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.data.outcomes import DONE, words_of
from spikelab.spike_sorting.recording.source import stem_of
from spikelab.spike_sorting.run.jobs import overview_folder
from spikelab.spike_sorting.run.record import shown_status, status_of
from spikelab.spike_sorting.run.sort_one import FigureData
from spikelab.spike_sorting.stages.compilation import UNIT_METRICS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from spikelab.spike_sorting.batch.policy import Outcome
    from spikelab.spike_sorting.report import IndexRow
    from spikelab.spike_sorting.run.jobs import Job

logger = logging.getLogger(__name__)

MOST_READ_FOR_FIGURES = 100  # recordings; all are in memory together, and more could not be told apart


def write_overview(outcomes: Sequence[Outcome]) -> None:
    """Draw figures of several recordings together, where wanted, and write their page."""
    if len(outcomes) > 1:
        _overview_figures(outcomes)
        _write_units(outcomes)
        write_overview_page(outcomes)


def _overview_figures(outcomes: Sequence[Outcome]) -> None:
    try:
        drawn = _all_figure_data(outcomes)
        if len(drawn) > 1:
            _draw(drawn)
        else:
            _set_outdated_aside(outcomes)
    except Exception as error:  # noqa: BLE001 - the results of the batch do not fail for a figure
        logger.warning("the figures of all recordings could not be drawn: %s: %s", type(error).__name__, error)


def _all_figure_data(outcomes: Sequence[Outcome]) -> list[tuple[Job, FigureData]]:
    wanted = [outcome for outcome in outcomes if outcome.job.config.figures.create_figures]
    if sum(_is_on_disk(outcome) for outcome in wanted) > MOST_READ_FOR_FIGURES:
        logger.info("no figures of all recordings together: that is done for up to %d", MOST_READ_FOR_FIGURES)
        return []
    return [(outcome.job, data) for outcome in wanted if (data := _figure_data(outcome)) is not None]


def _set_outdated_aside(outcomes: Sequence[Outcome]) -> None:
    from spikelab.spike_sorting.stages import set_outdated_overview_aside

    jobs = [outcome.job for outcome in outcomes]
    set_outdated_overview_aside([job.results for job in jobs], overview_folder(jobs))


def _draw(drawn: Sequence[tuple[Job, FigureData]]) -> None:
    from spikelab.spike_sorting.stages import draw_overview

    jobs = [job for job, _ in drawn]
    folder = overview_folder(jobs)
    recordings = [(job.name, data.units, data.curation) for job, data in drawn]
    if draw_overview(recordings, [data.run_id for _, data in drawn], jobs[0].config, folder):
        logger.info("figures of all recordings together are in %s", folder)


def _is_on_disk(outcome: Outcome) -> bool:
    """Tell whether another process sorted, and left the results on disk."""
    return outcome.done is not None and outcome.done.results is None


def _figure_data(outcome: Outcome) -> FigureData | None:
    """Load the data of one recording for figures of several; None where it has no figures of its own."""
    from spikelab.spike_sorting.run.results import Results

    if outcome.done is None:
        return None
    if not _is_on_disk(outcome):
        return outcome.done.figure_data
    try:
        results = Results.open(outcome.job.results)
        return FigureData(results.run_id("figures"), results.units, results.curation)
    except FileNotFoundError:
        return None


def _write_units(outcomes: Sequence[Outcome]) -> None:
    """Write the table of the units of all recordings that were sorted."""
    from spikelab.spike_sorting.report import UNITS

    done = [outcome.job for outcome in outcomes if outcome.done is not None]
    path = overview_folder([outcome.job for outcome in outcomes]) / UNITS
    tables = [(_cells(job), job.results / UNIT_METRICS) for job in done]
    try:
        if done and (count := write_units(path, tables)) < len(done):
            logger.warning("%s lacks %d recordings, whose %s cannot be read", path, len(done) - count, UNIT_METRICS)
    except OSError as error:
        logger.warning("the table of all units could not be written: %s", error)


def _cells(job: Job) -> dict[str, Any]:
    """Return what the table of units says of a recording."""
    noted = {"well" if name.casefold() == "well" else name: value for name, value in job.metadata.items()}
    return {"recording": job.name, "well": job.config.recording.stream_id or "", **noted}


def _plate_and_well(job: Job) -> tuple[str, str]:
    """Name the plate and the well of a recording: as the list says, else by its file and stream; "" for none."""
    noted = {name.casefold(): str(value) for name, value in job.metadata.items()}
    stream, recording = job.config.recording.stream_id, job.config.recording.rec_name
    well = noted.get("well") or stream or ""
    file = stem_of(job.recording_input) if isinstance(job.recording_input, Path) and "well" not in noted else ""
    return " ".join(filter(None, [noted.get("plate", file), recording])), well


def write_overview_page(outcomes: Sequence[Outcome], *, under_way: bool = False) -> None:
    """Write the page of all recordings, failed ones too; `under_way` while the batch goes on."""
    from spikelab.spike_sorting.report import INDEX, write_index

    folder = overview_folder([outcome.job for outcome in outcomes])
    try:
        rows = [_index_row(outcome, under_way=under_way) for outcome in outcomes]
        config = outcomes[0].job.config
        new = write_index(folder, config.sorter.sorter_name, rows, palette_of(config.figures))
    except Exception as error:  # noqa: BLE001 - the results of the batch do not fail for a page
        logger.warning("the page of all recordings could not be written: %s: %s", type(error).__name__, error)
    else:
        if new and not under_way:
            logger.info("all recordings are on one page: %s", folder / INDEX)


def _index_row(outcome: Outcome, *, under_way: bool) -> IndexRow:
    from spikelab.spike_sorting.report import IndexRow

    error = outcome.error
    plate, well = _plate_and_well(outcome.job)
    not_attempted = "to come" if under_way else "not attempted"
    status = not_attempted if not outcome.attempted else DONE if error is None else status_of(error)
    if outcome.done is not None:
        status = shown_status(status, {"curated": outcome.done.n_curated})
    return IndexRow(
        name=outcome.job.name,
        status=status,
        results=outcome.job.results,
        error="" if error is None else words_of(error),
        wall_s=None if outcome.done is None else outcome.done.wall_s,
        summary=None if outcome.done is None else outcome.done.summary,
        plate=plate,
        well=well,
        notes=outcome.job.metadata,
    )

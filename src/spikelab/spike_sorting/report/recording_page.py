"""``report.html``: the page of one recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.data.outcomes import BIOLOGY, DONE
from spikelab.spike_sorting.data.spike_trains import MOVED_UM
from spikelab.spike_sorting.report import _content, _page, _words
from spikelab.spike_sorting.report._decided import decided_content
from spikelab.spike_sorting.report._drift import drift_content
from spikelab.spike_sorting.report._validation import validation_content
from spikelab.spike_sorting.report.evidence import EvidenceSource, embedded
from spikelab.spike_sorting.report.validation_page import VALIDATION_PAGE, write_validation
from spikelab.system import files
from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from spikelab.spike_sorting.report._content import ReportData
    from spikelab.spike_sorting.settings.schema import SortingPipelineConfig

REPORT = "report.html"
# Statuses that the same call ends in again, without running a stage.
SETTLED = (DONE, BIOLOGY)
FIGURES = {
    "curation_bar_plot": "units found, after the first round of curation, and kept",
    "std_scatter_plot": "spike count and normalised deviation",
    "all_templates_plot": "templates of all units",
    "quality_distributions": "quality metrics and thresholds",
    "raster_pop_rate": "raster and population rate",
}


def write_report(results: Path, record: Mapping[str, Any], config: SortingPipelineConfig, data: ReportData) -> bool:
    """Write ``report.html`` into the results folder; returns False where the page there was made from the same runs.

    Where the sort was validated, ``validation.html`` is written beside it.

    `record` is the content of ``run.json``, `config` as the user gave it. A run that failed has some of the artifacts
    in `data`, and a page that explains.
    """
    page = results / REPORT
    source = _source(record, config)
    _write_validation(results, record, config, data, source)
    if record.get("status") in SETTLED and _page.is_current(page, source):
        return False
    files.write_text(page, _page.sealed(render_report(results, record, config, data), source))
    return True


def render_report(results: Path, record: Mapping[str, Any], config: SortingPipelineConfig, data: ReportData) -> str:
    """Render the page as HTML; see :func:`write_report`."""
    status = str(record.get("status", ""))
    shown = _words.shown_status(status, record)
    badge, meaning, advice = _words.status_words(shown)
    units, evidence, validation = _of_units(results, config, data) if status == DONE else (None, "", None)
    return _page.render(
        "report.html.j2",
        palette=palette_of(config.figures),
        name=record.get("name", results.name),
        badge=badge,
        severity=_words.severity(shown),
        meaning=meaning,
        advice=advice,
        error=_error(record, results),
        facts=_content.facts(record, data),
        warnings=[_short_paths(text, results) for text in _content.all_warnings(record)],
        attempts=_content.attempt_rows(record),
        units=units,
        validation=validation,
        decided=None if units is None else decided_content(data),
        evidence=evidence,
        has_traces=data.evidence is not None and data.evidence.traces.size > 0,
        drift=_drift(config, data),
        traces="" if units else _content.traces(data),
        stages=_content.stage_rows(record),
        total_wall_s=_content.total_wall_s(record),
        settings=_content.changed_settings(config),
        chosen=list(record.get("chosen", {}).values()),
        preset=config.sorter.sorter_name,
        versions=record.get("versions", {}),
        host=record.get("host", {}),
        files=[(name, about) for name, about in _wanted_files(config) if (results / name).exists()],
    )


def _of_units(results: Path, config: SortingPipelineConfig, data: ReportData) -> tuple[Any, str, Any]:
    """Return the table of units, the evidence on them, and the validation, as far as there are any."""
    if data.units is None or data.outcome is None:
        return None, "", None
    units = _content.unit_content(data.units, data.outcome, config, _unit_pages(results))
    found = data.validation
    validation = None if found is None else validation_content(found, data.units, data.outcome)
    return units, _evidence(config, data), validation


def _write_validation(
    results: Path, record: Mapping[str, Any], config: SortingPipelineConfig, data: ReportData, source: Any
) -> None:
    """Write the page of the validation; a run that failed leaves that of an earlier one."""
    if record.get("status") != DONE or data.units is None or data.outcome is None:
        return
    name, palette = str(record.get("name", results.name)), palette_of(config.figures)
    write_validation(results, name, data.validation, data.units, data.outcome, palette, source)


def _error(record: Mapping[str, Any], results: Path) -> dict[str, str] | None:
    """Return class and message of the error that ended the run; None where there was none."""
    error = record.get("error")
    return {key: _short_paths(str(error.get(key, "")), results) for key in ("class", "message")} if error else None


def _evidence(config: SortingPipelineConfig, data: ReportData) -> str:
    """Pack what is drawn when a unit is opened; "" where there are no units."""
    if data.units is None or data.outcome is None or not data.units.N:
        return ""
    channels = data.recording.channel_ids if data.recording is not None else ()
    return embedded(EvidenceSource(data.units, data.outcome, config.curation, data.evidence, channels, data.validation))


def _drift(config: SortingPipelineConfig, data: ReportData) -> dict[str, Any] | None:
    if data.recording is None:
        return None
    seen = data.trains is not None and MOVED_UM in data.trains.measures  # else units have what the tissue did
    return drift_content(
        data.recording.motion, data.drifts, data.units if seen else None, palette_of(config.figures).kept
    )


def _source(record: Mapping[str, Any], config: SortingPipelineConfig) -> Any:
    """List what decides the page apart from dates: a run that loads all its stages leaves the page of the first one."""
    stages = {name: stage.get("run_id") for name, stage in record.get("stages", {}).items()}
    names = ("name", "status", "error", "versions", "metadata", "chosen")
    return [stages, {name: record.get(name) for name in names}, plain(_content.changed_settings(config))]


def _unit_pages(results: Path) -> dict[int, str]:
    """Find the page of each unit that has one: its id and its path from the results folder."""
    pages = results.glob("figures/units/*/unit_*.png")
    numbers = {page: page.stem.removeprefix("unit_") for page in pages}
    return {int(number): page.relative_to(results).as_posix() for page, number in numbers.items() if number.isdigit()}


def _short_paths(text: str, results: Path) -> str:
    """Make the paths of a text relative to the results folder, which can be moved."""
    return text.replace(f"{results}/", "").replace(f"{results}\\", "").replace(str(results), "the results folder")


def _wanted_files(config: SortingPipelineConfig) -> list[tuple[str, str]]:
    return [
        (VALIDATION_PAGE, "how right the sort is, as known neurons that were put into the recording tell"),
        ("sorted_spikedata_curated.npz", "curated units, for SpikeData.load"),
        ("sorted_spikedata_curated.pkl", "the same as a pickle"),
        ("sorted_spikedata.npz", "units before curation"),
        ("sorted.npz", "curated units, for scripts"),
        ("sorted.mat", "curated units, for MATLAB"),
        *((name, "every metric of every unit") for name in ("unit_metrics.csv", "stages/curation/unit_metrics.csv")),
        *((f"figures/{name}.png", about) for name, about in FIGURES.items()),
        ("figures/units", "a page per unit"),
        ("earlier", "what earlier runs wrote, with other settings, and this one did not"),
        ("config_used.toml", "all settings"),
        ("run.json", "the record of the run"),
        (str(config.execution.out_file), "the log"),
    ]

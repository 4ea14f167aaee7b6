"""Content of a report as plain values for its template, from the record of the run and the artifacts."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.curation.criteria import in_force, metric_named, metrics
from spikelab.spike_sorting.curation.doubts import doubts
from spikelab.spike_sorting.curation.histograms import metric_histogram
from spikelab.spike_sorting.curation.outcome import PLUGIN_METRICS, is_rescued
from spikelab.spike_sorting.curation.palette import palette_of
from spikelab.spike_sorting.data.spike_trains import MOVED_UM
from spikelab.spike_sorting.report import _plots
from spikelab.spike_sorting.report._probe import probe_map
from spikelab.spike_sorting.report._pulses import around_pulses
from spikelab.spike_sorting.report._words import duration, format_number, memory, plural, sort_key
from spikelab.spike_sorting.settings.fields import option_of
from spikelab.spike_sorting.settings.keywords import flat_name, groups
from spikelab.spike_sorting.settings.presets import preset_for
from spikelab.spike_sorting.settings.schema import SortingPipelineConfig
from spikelab.system.json_files import plain

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import BinaryRecording, Evidence, SpikeTrains, Validation
    from spikelab.spike_sorting.decisions import Decisions
    from spikelab.spike_sorting.report._drift import Drift
    from spikelab.spike_sorting.settings.schema import CurationConfig
    from spikelab.spikedata import SpikeData

TRACES_SHOWN, TRACE_SECONDS = 12, 0.5
MANY_UNITS, FEW_CHANNELS, MANY_CHANNELS = 300, 3, 1
EXPECTED = "expected_accuracy"  # what the table shows of a validation


@dataclass
class ReportData:
    """Artifacts of a run so far; a run that fails early has few."""

    recording: BinaryRecording | None = None
    units: SpikeData | None = None  # all units of the sort
    outcome: CurationOutcome | None = None
    drifts: list[Drift] = field(default_factory=list)
    trains: SpikeTrains | None = None  # of the sort, whatever was decided since
    decisions: Decisions | None = None  # of a person, that `units` and `outcome` were made with
    evidence: Evidence | None = None  # on every spike
    validation: Validation | None = None


# ---- the recording and the run ----


def facts(record: Mapping[str, Any], data: ReportData) -> list[tuple[str, str]]:
    """List name and value of the facts on the recording and the sort."""
    lines = [("Sorter", str(record.get("sorter", "")))]
    if data.recording is not None:
        lines += _recording_facts(data.recording)
    report = record.get("stages", {}).get("recording", {}).get("report") or {}
    if noise := report.get("noise_uv"):
        lines.append(("Noise", f"median {format_number(float(np.median(noise)))} uV over channels"))
    for name in ("flat_channels", "saturated_channels"):
        if report.get(name):
            lines.append((name.replace("_", " ").capitalize(), ", ".join(map(str, report[name]))))
    lines += (record.get("metadata") or {}).items()
    if finished := record.get("finished"):
        lines.append(("Finished", str(finished).replace("T", " ")))
    return [(name, str(value)) for name, value in lines if value != ""]


def _recording_facts(recording: BinaryRecording) -> list[tuple[str, str]]:
    files = [Path(file).name for file in recording.source_files if file] or [Path(recording.source_file).name]
    shown = ", ".join(files[:3]) + (f" and {len(files) - 3} more" if len(files) > 3 else "")
    n_epochs, clipped = len(recording.epochs), format_number(recording.n_clipped)
    lines = [
        ("Recording", shown or "in memory"),
        ("Format", recording.source_format),
        ("Length", duration(recording.duration_s)),
        ("Channels", f"{format_number(recording.n_channels)} at {recording.sampling_frequency:g} Hz"),
        ("Sorted apart", _groups(recording)),
        ("Epochs", format_number(n_epochs) if n_epochs > 1 else ""),
        ("Stimulation", _stimulation(recording)),
        ("Dead time", _dead_time(recording)),
        ("Clipped", f"{clipped} samples did not fit into the binary recording" if recording.n_clipped else ""),
    ]
    return [(name, value) for name, value in lines if value]


def _stimulation(recording: BinaryRecording) -> str:
    """Count the pulses; "" where there are none."""
    pulses = recording.pulses
    if not len(pulses):
        return ""
    sites = f" at {len(pulses.names)} sites" if len(pulses.names) > 1 else ""
    return f"{format_number(len(np.unique(pulses.frames)))} pulses{sites}"


def _dead_time(recording: BinaryRecording) -> str:
    """Say how much time is dead; "" where none is."""
    if not len(recording.dead_time):
        return ""
    seconds = float(np.diff(recording.dead_time).sum()) / recording.sampling_frequency
    share = f"{format_number(seconds)} s, {100 * seconds / recording.duration_s:.2g} % of the recording"
    return f"{share}, in {plural(len(recording.dead_time), 'period')}: rates count the time that is left"


def _groups(recording: BinaryRecording) -> str:
    """List the groups of channels that are sorted apart; "" where there is one."""
    if recording.geometry is None or recording.geometry.n_groups == 1:
        return ""
    names, sizes = recording.geometry.group_names, np.bincount(recording.groups)
    listed = ", ".join(f"{name} ({size})" for name, size in zip(names, sizes, strict=True))
    return f"{len(names)} groups of channels: {listed}"


def stage_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the costs of each stage, in this run or in the earlier one that it was loaded from."""
    stages = record.get("stages", {})
    total = total_wall_s(record) or 1.0
    return [
        {
            "name": name,
            "how": _how(stage),
            "wall": duration(stage.get("wall_s")),
            "cpu": duration(stage.get("cpu_s")),
            "memory": memory(stage.get("peak_memory_mib")) if stage.get("set_peak_memory", True) else "not more",
            "share": round(100 * float(stage.get("wall_s") or 0) / total, 1),
        }
        for name, stage in stages.items()
    ]


def _how(stage: Mapping[str, Any]) -> str:
    if stage.get("loaded"):
        return "kept from an earlier run"
    reason = stage.get("reason", "")
    return "ran" if reason in ("", "not done yet") else f"ran again: {reason}"


def total_wall_s(record: Mapping[str, Any]) -> float:
    """Sum the seconds of all stages, in whichever run."""
    return sum(float(stage.get("wall_s") or 0) for stage in record.get("stages", {}).values())


def attempt_rows(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """List the tries of the sorter, where there was more than one on a group of channels, or one failed."""
    attempts = record.get("attempts") or []
    once_each = len({attempt.get("group") for attempt in attempts}) == len(attempts)
    if once_each and not any(attempt.get("error") for attempt in attempts):
        return []
    return [
        {"number": index, "details": _described(attempt), "error": attempt.get("error")}
        for index, attempt in enumerate(attempts, start=1)
    ]


def _described(attempt: Mapping[str, Any]) -> str:
    parts = []
    for name, value in attempt.items():
        if isinstance(value, dict):
            parts += [f"{key} = {item}" for key, item in value.items()]
        elif value is not None and name != "error":
            parts.append(f"{name.replace('_', ' ')} = {value}")
    return ", ".join(parts) or "as configured"


def all_warnings(record: Mapping[str, Any]) -> list[str]:
    """List the warnings of this run, and of the recording's stage where it was loaded."""
    report = record.get("stages", {}).get("recording", {}).get("report") or {}
    return list(dict.fromkeys([*record.get("warnings", []), *report.get("warnings", [])]))


def changed_settings(config: SortingPipelineConfig) -> list[dict[str, str]]:
    """List the settings that differ from the preset of the sorter."""
    preset = preset_for(config.sorter.sorter_name)
    rows = []
    for group, group_type in groups(SortingPipelineConfig).items():
        for declared in fields(group_type):
            value = plain(getattr(getattr(config, group), declared.name))
            default = plain(getattr(getattr(preset, group), declared.name))
            if value != default:
                about = option_of(declared)
                unit = f" {about.unit}" if about.unit and value is not None else ""
                texts = {"value": f"{value}{unit}", "default": f"{default}", "doc": about.doc}
                rows.append({"name": f"{group}.{declared.name}", "keyword": flat_name(declared), **texts})
    return rows


def traces(data: ReportData) -> str:
    """Draw half a second of the filtered recording on up to twelve channels; the picture says of how many."""
    recording = data.recording
    if recording is None or not recording.path.is_file() or not recording.n_samples:
        return ""
    length = min(int(TRACE_SECONDS * recording.sampling_frequency), recording.n_samples)
    start = (recording.n_samples - length) // 2
    values = recording.read_uv(start, start + length).astype(np.float64)
    chosen = np.unique(np.linspace(0, recording.n_channels - 1, TRACES_SHOWN).astype(np.int64))
    picked = [(recording.channel_ids[channel], values[:, channel]) for channel in chosen]
    return _plots.traces_picture(picked, recording.n_channels, round(length / recording.sampling_frequency, 3))


# ---- the units ----


def criteria_rows(outcome: CurationOutcome, config: CurationConfig) -> list[dict[str, Any]]:
    """List the criteria in force, in the order of their application, with the number of units that failed each."""
    failed = Counter(
        (row.get("failed_round") or "", row["failed_criterion"])
        for row in outcome.unit_metrics
        if row.get("failed_criterion") is not None
    )
    rows: list[dict[str, Any]] = []
    for criterion, threshold in in_force(config):
        count, label = failed.pop((criterion.round, criterion.metric.name), 0), criterion.metric.label(config)
        rows.append({"label": label, "limit": criterion.words(threshold), "round": criterion.round, "failed": count})
    rows += [  # units that were merged into others
        {"label": _criterion_name(name), "limit": "", "round": which, "failed": count}
        for (which, name), count in failed.items()
    ]
    most = max([row["failed"] for row in rows] + [1])
    return [row | {"share": round(100 * row["failed"] / most)} for row in rows]


def _funnel(units: SpikeData, outcome: CurationOutcome, config: CurationConfig) -> list[tuple[str, str, int]]:
    """List kind, words and number of units after each round; the second one where something follows it."""
    rows = [("found", "found", units.N), ("first", "after the first round", outcome.sd_first.N)]
    if config.metric_limits or config.merge_duplicates or outcome.by_hand:
        rows.append(("second", "after the second round", outcome.n_second))
    rescued = sum(is_rescued(row) for row in outcome.unit_metrics)
    if rescued:
        return [*rows, ("kept", f"kept, {rescued} of them by hand", outcome.sd_curated.N)]
    return [*rows, ("kept", "kept", outcome.sd_curated.N)]


def _criterion_name(name: str) -> str:
    """Name a criterion in words: the label of its metric without the brackets."""
    labels = {metric.name: metric.short_label for metric in metrics()}
    return labels.get(name, name.replace("_", " "))


def distributions(outcome: CurationOutcome, curation: CurationConfig) -> list[dict[str, str]]:
    """Draw a histogram of every metric."""
    kept = np.isin([row["unit_id"] for row in outcome.unit_metrics], outcome.sd_curated.unit_ids)
    pictures = []
    for metric in metrics(curation):
        values = np.array([row[metric.name] for row in outcome.unit_metrics], dtype=np.float64)
        shown = metric_histogram(metric, values[kept], values[~kept], curation)
        pictures.append({"label": shown.label, "svg": _plots.distribution(shown), "note": shown.note})
    return pictures


def unit_columns(curation: CurationConfig, others: Collection[str] = ()) -> list[tuple[str, str]]:
    """List key and heading of the numeric columns of the table; `others` are metrics of the units beside ours."""
    columns = {metric.name: metric.label(curation) for metric in metrics(curation)}
    columns |= {EXPECTED: metric_named(EXPECTED).label(curation)} if EXPECTED in others else {}
    return list((columns | {"amplitude": "Amplitude (uV)", "x": "x (um)", "y": "y (um)"}).items())


def thumbnail_channels(n_units: int) -> int:
    """Return how many channels beside the main one a template is drawn on: fewer where that makes the page large."""
    return MANY_CHANNELS if n_units > MANY_UNITS else FEW_CHANNELS


def unit_rows(
    units: SpikeData, outcome: CurationOutcome, columns: list[tuple[str, str]], pages: Mapping[int, str]
) -> list[dict[str, Any]]:
    """List one row per unit of the sort, pictures included; `pages` are the paths of the units' own pages."""
    rows = {row["unit_id"]: row for row in outcome.unit_metrics}
    n_others = thumbnail_channels(units.N)
    return [
        _unit_row(unit, rows[unit["unit_id"]], intervals, units.metadata, columns, n_others)
        | {"page": pages.get(unit["unit_id"])}
        for unit, intervals in zip(units.unit_attributes, units.interspike_intervals(), strict=True)
    ]


def _unit_row(
    unit: dict[str, Any],
    row: dict[str, Any],
    intervals: Any,
    metadata: dict[str, Any],
    columns: list[tuple[str, str]],
    n_others: int,
) -> dict[str, Any]:
    known = {EXPECTED: unit.get(EXPECTED)} | row | {name: unit[name] for name in ("amplitude", "x", "y")}
    values = {name: known[name] for name, _ in columns}
    verdict = _verdict(row, values)
    return verdict | {
        "id": unit["unit_id"],
        "peak": "positive" if unit["has_pos_peak"] else "negative",
        "channel": unit["channel_id"],
        "electrode": unit.get("electrode"),
        "group": unit.get("group"),
        "sorter_unit_id": unit.get("sorter_unit_id"),
        "imported_label": unit.get("imported_label") or None,
        "moved": (format_number(unit[MOVED_UM]), sort_key(unit[MOVED_UM])) if MOVED_UM in unit else None,
        "values": {name: (format_number(value), sort_key(value)) for name, value in values.items()},
        "template": _plots.template_thumbnail(unit, metadata, verdict["kind"], n_others),
        "isi": _plots.isi_thumbnail(unit["unit_id"], intervals, verdict["kind"]),
    }


def _verdict(row: dict[str, Any], shown: Collection[str]) -> dict[str, Any]:
    """Say whether a unit was kept, and which metrics of those `shown` were against it."""
    criterion = row.get("failed_criterion") or ""
    verdict = {"criterion": criterion, "merged_into": row.get("merged_into")}
    against = [name for name in row.get("failed_criteria", [criterion]) if name in shown]
    if is_rescued(row):
        return verdict | {"kind": "kept", "verdict": "kept by hand", "failed_metrics": against}
    if row["passed"]:
        return verdict | {"kind": "kept", "verdict": "kept", "failed_metrics": []}
    return verdict | {"kind": "failed", "verdict": _criterion_name(criterion), "failed_metrics": against}


def unit_content(
    units: SpikeData, outcome: CurationOutcome, config: SortingPipelineConfig, pages: Mapping[int, str]
) -> dict[str, Any]:
    """Gather the content on the units of a finished sort."""
    curated, curation = outcome.sd_curated, config.curation
    columns = unit_columns(curation, units.metadata.get(PLUGIN_METRICS, ()))
    return {
        "n_units": units.N,
        "n_first": outcome.sd_first.N,
        "funnel": _funnel(units, outcome, curation),
        "n_curated": curated.N,
        "n_spikes": int(curated.spike_counts.sum()),
        "criteria": criteria_rows(outcome, curation),
        "doubts": [f"{doubt}." for doubt in doubts(units, outcome, curation)],
        "distributions": distributions(outcome, curation),
        "activity": _plots.activity(curated, palette_of(config.figures)),
        "pulses": around_pulses(curated),
        "probe": probe_map(units.metadata["channel_locations"], units.unit_attributes, set(curated.unit_ids)),
        "columns": columns,
        "thumbnail_channels": thumbnail_channels(units.N),
        "rows": unit_rows(units, outcome, columns, pages),
    }

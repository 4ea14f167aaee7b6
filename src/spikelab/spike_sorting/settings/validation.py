"""One check of a whole configuration, at the start of a sort, before any file is touched."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING

from spikelab.spike_sorting.settings.fields import default_of, option_of
from spikelab.spike_sorting.settings.keywords import flat_name, groups
from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from spikelab.spike_sorting.settings.schema import (
        RecordingConfig,
        RTSortConfig,
        SortingPipelineConfig,
        WaveformConfig,
    )

# Parameters of sorters that correct movement themselves.
DRIFT_PARAMETERS = ("apply_motion_correction", "do_correction", "perform_drift_registration")


def validate_config(config: SortingPipelineConfig) -> None:
    """Check every setting, then those that depend on each other; ValueError with a line for each illegal value."""
    problems = illegal_settings(config)
    if problems:
        raise ValueError("\n".join(problems))


def illegal_settings(config: SortingPipelineConfig) -> list[str]:
    """Return a line for each illegal value, or, where there is none, for each contradiction between settings."""
    return list(_fields_out_of_range(config)) or list(_contradictions(config))


def with_legal_fields(config: SortingPipelineConfig) -> SortingPipelineConfig:
    """Return the configuration with the default in the place of every illegal value."""
    legal = replace(config)
    for name, group_type in groups(type(config)).items():
        group = getattr(config, name)
        wrong = {
            f.name: default_of(f) for f in fields(group_type) if not option_of(f).check.accepts(getattr(group, f.name))
        }
        setattr(legal, name, replace(group, **wrong))
    return legal


def _fields_out_of_range(config: SortingPipelineConfig) -> Iterator[str]:
    for name, group_type in groups(type(config)).items():
        group = getattr(config, name)
        if not isinstance(group, group_type):
            yield f"{name!r} must be a {group_type.__name__}, got {group!r}"
            continue
        for declared in fields(group_type):
            value, check = getattr(group, declared.name), option_of(declared).check
            if not check.accepts(value):
                yield f"{flat_name(declared)!r} must be {check}, got {brief(value)}"


def _contradictions(config: SortingPipelineConfig) -> Iterator[str]:
    yield from _filter_band(config.recording)
    yield from _reference(config.recording)
    yield from _cuts(config.recording)
    yield from _artifacts(config.recording)
    yield from _compiled_window(config.waveform)
    yield from _rt_sort_window(config.rt_sort)
    yield from _corrected_twice(config)


def _filter_band(recording: RecordingConfig) -> Iterator[str]:
    if recording.freq_min >= recording.freq_max:
        yield f"'freq_min' must be below 'freq_max', got {recording.freq_min!r} and {recording.freq_max!r}"


def _reference(recording: RecordingConfig) -> Iterator[str]:
    if recording.reference_by != "group" and recording.common_reference is None:
        yield (
            f"'reference_by' says over which channels 'common_reference' is taken, which is None, got "
            f"{recording.reference_by!r}; set 'common_reference' to 'median' or 'average'"
        )


def _cuts(recording: RecordingConfig) -> Iterator[str]:
    by_time = ("first_n_mins", "start_time_s", "end_time_s", "rec_chunks_s")
    given = [name for name in by_time if getattr(recording, name) not in (None, [], ())]
    if recording.rec_chunks and given:
        yield (
            f"'rec_chunks' is frame-based and cannot be combined with {', '.join(map(repr, given))};"
            " use 'rec_chunks_s' to cut by time"
        )
    start, end = recording.start_time_s, recording.end_time_s
    if start is not None or end is not None:
        yield from _range("start_time_s, end_time_s", 0 if start is None else start, end)
    yield from _ranges("rec_chunks", recording.rec_chunks)
    yield from _ranges("rec_chunks_s", recording.rec_chunks_s)


def _artifacts(recording: RecordingConfig) -> Iterator[str]:
    periods = recording.artifacts if isinstance(recording.artifacts, list | tuple) else ()
    for start, end in periods:
        yield from _range("artifacts", start, end)


def require_cuts(recording: RecordingConfig) -> None:
    """Check the settings that cut a recording in time, as far as possible without it; ValueError for illegal ones."""
    problems = list(_cuts(recording))
    if problems:
        raise ValueError("\n".join(problems))


def _range(name: str, start: float, end: float | None) -> Iterator[str]:
    if start < 0 or (end is not None and start >= end):
        yield f"Invalid time range in '{name}': start must be at least 0 and below the end, got ({start!r}, {end!r})"


def _ranges(name: str, ranges: Sequence[tuple[float, float]] | None) -> Iterator[str]:
    last: float = 0
    for start, end in ranges or ():
        yield from _range(name, start, end)
        if 0 <= start < last:
            yield f"{name!r} must ascend without overlap, got ({start!r}, {end!r}) after one that ends at {last!r}"
        last = end


def _corrected_twice(config: SortingPipelineConfig) -> Iterator[str]:
    """Refuse a sorter's own correction of movement beside that of the traces; by default it is off then."""
    if config.recording.motion in (None, "estimate"):
        return
    for name, value in (config.sorter.sorter_params or {}).items():
        if name in DRIFT_PARAMETERS and value:
            yield (
                f"'motion' must be None or 'estimate' where the sorter corrects movement itself ({name}={value!r}), "
                f"got {config.recording.motion!r}"
            )


def _compiled_window(waveform: WaveformConfig) -> Iterator[str]:
    for side in ("before", "after"):
        compiled, whole = getattr(waveform, f"compiled_ms_{side}"), getattr(waveform, f"ms_{side}")
        if compiled > whole:
            name = f"waveforms_ms_{side}"
            yield f"'compiled_{name}' must not be longer than {name!r}, got {compiled!r} and {whole!r}"


def _rt_sort_window(rt_sort: RTSortConfig) -> Iterator[str]:
    if rt_sort.recording_window_ms is not None:
        yield from _range("rt_sort_recording_window_ms", *rt_sort.recording_window_ms)

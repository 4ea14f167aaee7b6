"""Check settings: what is wrong is refused at the start of a sort, before any file is touched, and told earlier.

Settings are stored as given, and may be changed one after the other until the sort. So an illegal value, or a range
that ends before it begins, is a warning in the log when it is given, and an error when a sort starts with it.
"""

from __future__ import annotations

import logging
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING, Any

from spikelab.spike_sorting.settings.fields import default_of, option_of
from spikelab.spike_sorting.settings.keywords import flat_name, groups, with_settings
from spikelab.system.texts import brief

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from spikelab.spike_sorting.settings.schema import (
        RecordingConfig,
        SortingPipelineConfig,
        WaveformConfig,
    )

logger = logging.getLogger(__name__)

# Parameters of sorters that correct movement themselves.
DRIFT_PARAMETERS = ("apply_motion_correction", "do_correction", "perform_drift_registration")


def validate_config(config: SortingPipelineConfig) -> None:
    """Check every setting, then those that depend on each other; ValueError with a line for each illegal value."""
    if problems := illegal_settings(config):
        raise ValueError("\n".join(problems))


def tell_illegal(*of_config: Any) -> None:
    """Warn in the log of each illegal value, and each empty range, of groups of settings."""
    for group in of_config:
        for problem in list(_illegal_values(group)) or _empty_ranges(group):
            logger.warning("%s: a sort will refuse this", problem)


def illegal_settings(config: SortingPipelineConfig) -> list[str]:
    """Return a line for each illegal value, or, where there is none, for each contradiction between settings."""
    of_config = [getattr(config, name) for name in groups(type(config))]
    return (
        list(_no_groups(config))
        or [problem for group in of_config for problem in _illegal_values(group)]
        or [*(problem for group in of_config for problem in _empty_ranges(group)), *_contradictions(config)]
    )


def with_legal_fields(config: SortingPipelineConfig) -> SortingPipelineConfig:
    """Return the configuration with the default in the place of every illegal value."""
    defaults = {
        name: {
            f.name: default_of(f)
            for f in fields(group_type)
            if not option_of(f).check.accepts(getattr(getattr(config, name), f.name))
        }
        for name, group_type in groups(type(config)).items()
    }
    return with_settings(config, defaults)


def _no_groups(config: SortingPipelineConfig) -> Iterator[str]:
    for name, group_type in groups(type(config)).items():
        if not isinstance(group := getattr(config, name), group_type):
            yield f"{name!r} must be a {group_type.__name__}, got {brief(group)}"


def _illegal_values(group: Any) -> Iterator[str]:
    for declared in fields(group):
        value, check = getattr(group, declared.name), option_of(declared).check
        if not check.accepts(value):
            yield f"{flat_name(declared)!r} must be {check}, got {brief(value)}"


def _empty_ranges(group: Any) -> Iterator[str]:
    """Yield a line for each range that ends before it begins, of a group with legal values."""
    for names, faults_of in RANGES.items():
        if all(hasattr(group, name) for name in names):
            yield from faults_of(*(getattr(group, name) for name in names))


def _contradictions(config: SortingPipelineConfig) -> Iterator[str]:
    yield from _two_kinds_of_cut(config.recording)
    yield from _reference(config.recording)
    yield from _compiled_window(config.waveform)
    yield from _corrected_twice(config)


def _filter_band(low: float, high: float) -> Iterator[str]:
    if low >= high:
        yield f"'freq_min' must be below 'freq_max', got {low!r} and {high!r}"


def _reference(recording: RecordingConfig) -> Iterator[str]:
    if recording.reference_by != "group" and recording.common_reference is None:
        yield (
            f"'reference_by' says over which channels 'common_reference' is taken, which is None, got "
            f"{recording.reference_by!r}; set 'common_reference' to 'median' or 'average'"
        )


def _two_kinds_of_cut(recording: RecordingConfig) -> Iterator[str]:
    by_time = ("first_n_mins", "start_time_s", "end_time_s", "rec_chunks_s")
    given = [name for name in by_time if getattr(recording, name) not in (None, [], ())]
    if recording.rec_chunks and given:
        yield (
            f"'rec_chunks' is frame-based and cannot be combined with {', '.join(map(repr, given))};"
            " use 'rec_chunks_s' to cut by time"
        )


def _artifacts(periods: Any) -> Iterator[str]:
    for start, end in periods if isinstance(periods, list | tuple) else ():
        yield from _range("artifacts", start, end)


def require_cuts(recording: RecordingConfig) -> None:
    """Check the settings that cut a recording in time, as far as possible without it; ValueError for illegal ones."""
    if problems := [*_two_kinds_of_cut(recording), *_empty_ranges(recording)]:
        raise ValueError("\n".join(problems))


def _kept(start: float | None, end: float | None) -> Iterator[str]:
    if start is not None or end is not None:
        yield from _range("start_time_s, end_time_s", 0 if start is None else start, end)


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


def _window(window: tuple[float, float] | None) -> Iterator[str]:
    if window is not None:
        yield from _range("rt_sort_recording_window_ms", *window)


# What is a range: names of fields, and the check of their values.
RANGES: Mapping[tuple[str, ...], Callable[..., Iterator[str]]] = {
    ("freq_min", "freq_max"): _filter_band,
    ("start_time_s", "end_time_s"): _kept,
    ("rec_chunks",): partial(_ranges, "rec_chunks"),
    ("rec_chunks_s",): partial(_ranges, "rec_chunks_s"),
    ("artifacts",): _artifacts,
    ("recording_window_ms",): _window,
}


def _compiled_window(waveform: WaveformConfig) -> Iterator[str]:
    for side in ("before", "after"):
        compiled, whole = getattr(waveform, f"compiled_ms_{side}"), getattr(waveform, f"ms_{side}")
        if compiled > whole:
            name = f"waveforms_ms_{side}"
            yield f"'compiled_{name}' must not be longer than {name!r}, got {compiled!r} and {whole!r}"

"""What a report says of a validation: how right the sort is, as known neurons that were put into the recording tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.validation import FOUND
from spikelab.spike_sorting.report import _validation_plots as plots
from spikelab.spike_sorting.report._words import format_number, plural

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import Validation
    from spikelab.spike_sorting.report._probe import ProbeMap
    from spikelab.spikedata import SpikeData

SMALL_MAP, LARGE_MAP = 240.0, 300.0  # longer side in pixels
NOT_KNOWN = "Expected accuracy: not known, as no neuron alike was put in and found"


def validation_content(found: Validation, units: SpikeData, outcome: CurationOutcome) -> dict[str, Any]:
    """Gather the section of the report: the summary in words, and three small pictures."""
    kept = set(outcome.sd_curated.unit_ids)
    expected, n_known = plots.expected_picture(found, kept)
    return {
        "words": summary_words(found, kept),
        "curve": plots.over(found, "accuracy", "snr"),
        "has_curve": found.summary.get("curve") is not None,
        "expected": expected,
        "n_unknown": len(found.units) - n_known,
        "map": map_of(found, units, side=SMALL_MAP),
        "ramp": plots.ramp(),
        "least": FOUND,
    }


def map_of(
    found: Validation, units: SpikeData, measure: str = "accuracy", side: float | None = None
) -> ProbeMap | None:
    """Draw the known neurons on the array; None without electrodes."""
    locations = np.asarray(units.metadata["channel_locations"], dtype=np.float64).reshape(-1, 2)
    return plots.place_map(found, locations, units.unit_attributes, measure, side) if len(locations) else None


def summary_words(found: Validation, kept: Collection[int]) -> list[str]:
    """Tell the summary in sentences; what it tells of units is of those that were `kept`, and of all."""
    summary = found.summary
    n, n_found, rounds = summary["n_injected"], summary["n_found"], summary["rounds"]
    again = "sorted again" if rounds == 1 else f"sorted {rounds} times more, each time with others of them"
    known = (
        f"{plural(n, 'known neuron')} made from units of this sort, moved over the array and scaled, "
        f"{'was' if n == 1 else 'were'} put into the recording, which was {again}. {_how_many(n_found, n)} "
        f"{'was' if n_found <= 1 < n else 'were'} found with an accuracy of {FOUND} or more."
    )
    return [
        known, _smallest_words(found), _expected_summary(found, kept),
        f"{_stable_words(found, kept)}; {_new_words(summary['n_new'], rounds)}.",
    ]  # fmt: skip


def _how_many(count: int, of: int) -> str:
    return {of: "All of them", 0: "None of them"}.get(count, f"{format_number(count)} of them")


def _smallest_words(found: Validation) -> str:
    smallest = found.summary["smallest_snr"]
    if smallest is None:
        return f"From which SNR on 80 % are found, they do not tell: {found.why_no_smallest()}."
    value, low, high = map(format_number, smallest)
    return f"From an SNR of {value} on, 80 % are found (90 % interval {low} to {high})."


def _expected_summary(found: Validation, kept: Collection[int]) -> str:
    n_unknown = len(found.units) - found.mean("expected_accuracy")[1]
    unknown = (
        f" Of {plural(n_unknown, 'unit')} no neuron alike was put in and found: what to expect of "
        f"{'it' if n_unknown == 1 else 'them'} is not known."
        if n_unknown
        else ""
    )
    return _expected_mean(found, kept) + unknown


def _expected_mean(found: Validation, kept: Collection[int]) -> str:
    (of_kept, n_kept), (of_all, n_known) = found.mean("expected_accuracy", kept), found.mean("expected_accuracy")
    if not n_known:
        return "What to expect of the recording is not known."
    if n_kept == n_known:
        return (
            f"Expected accuracy of the recording: {of_all:.2f}, the mean over the {plural(n_known, 'unit')} that it is "
            "known of."
        )
    everything = f"over all {n_known} that it is known of, with those that curation did not keep, it is {of_all:.2f}"
    if not n_kept:
        return f"What to expect of the units that were kept is not known; {everything}."
    return (
        f"Expected accuracy of the recording: {of_kept:.2f}, the mean over {plural(n_kept, 'unit')} that "
        f"{'was' if n_kept == 1 else 'were'} kept; {everything}."
    )


def _stable_words(found: Validation, kept: Collection[int]) -> str:
    (of_kept, n_kept), (of_all, n_units) = found.mean("stability", kept), found.mean("stability")
    if n_kept in (0, n_units):
        return f"The units of this sort agree with themselves in the new one by {of_all:.2f} on average"
    return (
        f"The units that were kept agree with themselves in the new sort by {of_kept:.2f} on average, all units of "
        f"this sort by {of_all:.2f}"
    )


def _new_words(n_new: float, rounds: int) -> str:
    each = "" if rounds == 1 else " each time"
    if not n_new:
        return "no unit came up that was neither there before nor put in"
    verb = "unit that was" if n_new == 1 else "units that were"
    return f"{round(n_new, 1):g} {verb} neither there before nor put in came up{each}"


def expected_words(values: Mapping[str, float] | None) -> str:
    """Tell in one line what to expect of a unit; "" where nothing is known of it."""
    if values is None:
        return ""
    stability = f"stability {values['stability']:.2f}"
    if not np.isfinite(values["expected_accuracy"]):
        return f"{NOT_KNOWN}; {stability}."
    mean, low, high = (values[f"expected_accuracy{end}"] for end in ("", "_low", "_high"))
    return (
        f"Expected accuracy {mean:.2f} (90 % interval {low:.2f} to {high:.2f}): recall "
        f"{values['expected_recall']:.2f}, precision {values['expected_precision']:.2f}; {stability}; from "
        f"{plural(int(values['alike']), 'known neuron')} alike."
    )

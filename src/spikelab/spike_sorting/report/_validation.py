"""What a report says of a validation: how right the sort is, as known neurons that were put into the recording tell."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data.validation import FOUND
from spikelab.spike_sorting.report import _validation_plots as plots
from spikelab.spike_sorting.report._words import format_number, plural

if TYPE_CHECKING:
    from collections.abc import Mapping

    from spikelab.spike_sorting.curation import CurationOutcome
    from spikelab.spike_sorting.data import Validation
    from spikelab.spike_sorting.report._probe import ProbeMap
    from spikelab.spikedata import SpikeData

SMALL_MAP, LARGE_MAP = 240.0, 300.0  # longer side in pixels
NOT_KNOWN = "Expected accuracy: not known, as no neuron alike was put in and found"


def validation_content(found: Validation, units: SpikeData, outcome: CurationOutcome) -> dict[str, Any]:
    """Gather the section of the report: the summary in words, and three small pictures."""
    expected, n_known = plots.expected_picture(found, set(outcome.sd_curated.unit_ids))
    return {
        "words": summary_words(found),
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


def summary_words(found: Validation) -> list[str]:
    """Tell the summary in sentences."""
    summary = found.summary
    n, n_found, rounds = summary["n_injected"], summary["n_found"], summary["rounds"]
    again = "sorted again" if rounds == 1 else f"sorted {rounds} times more, each time with others of them"
    known = (
        f"{plural(n, 'known neuron')} made from units of this sort, moved over the array and scaled, "
        f"{'was' if n == 1 else 'were'} put into the recording, which was {again}. {_how_many(n_found, n)} "
        f"{'was' if n_found <= 1 < n else 'were'} found with an accuracy of {FOUND} or more."
    )
    stable = (
        f"The units of this sort agree with themselves in the new one by {summary['stability']:.2f} on average; "
        f"{_new_words(summary['n_new'], rounds)}."
    )
    return [known, _smallest_words(summary), _expected_summary(found), stable]


def _how_many(count: int, of: int) -> str:
    return {of: "All of them", 0: "None of them"}.get(count, f"{format_number(count)} of them")


def _smallest_words(summary: Mapping[str, Any]) -> str:
    smallest = summary["smallest_snr"]
    if smallest is not None:
        value, low, high = map(format_number, smallest)
        return f"From an SNR of {value} on, 80 % are found (90 % interval {low} to {high})."
    reason = {summary["n_injected"]: "all of them were", 0: "none of them was"}.get(
        summary["n_found"], "those that were are not larger than those that were not"
    )
    return f"From which SNR on 80 % are found, they do not tell: {reason}."


def _expected_summary(found: Validation) -> str:
    accuracy, n_known = found.summary["expected_accuracy"], found.summary["n_known"]
    n_unknown = len(found.units) - n_known
    unknown = (
        f" Of {plural(n_unknown, 'unit')} no neuron alike was put in and found: what to expect of "
        f"{'it' if n_unknown == 1 else 'them'} is not known."
        if n_unknown
        else ""
    )
    if accuracy is None:
        return f"What to expect of the recording is not known.{unknown}"
    return (
        f"Expected accuracy of the recording: {accuracy:.2f}, the mean over the {plural(n_known, 'unit')} that it is "
        f"known of.{unknown}"
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

"""A round of a validation: what was put in, what the sorter made of it, and what all rounds together tell."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import Validation
from spikelab.spike_sorting.data.dead_time import live_frames
from spikelab.spike_sorting.data.validation import FOUND, INJECTED
from spikelab.spike_sorting.validation.curves import curve_of, smallest_found
from spikelab.spike_sorting.validation.donors import MIN_SNR, MIN_SPIKES, measure_donors, usable_units
from spikelab.spike_sorting.validation.features import features
from spikelab.spike_sorting.validation.plan import FEWEST, plan_injections, wanted_number
from spikelab.spike_sorting.validation.predict import expected
from spikelab.spike_sorting.validation.score import score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from spikelab.spike_sorting.data import BinaryRecording, IntArray, Waveforms
    from spikelab.spike_sorting.validation.plan import Injection

    Values = NDArray[np.float64]

FILE = "round.npz"


DONORS_PER_NEURON = 2  # more need not be measured


class CannotValidateError(ValueError):
    """A sort that cannot be validated, and why."""


@dataclass(frozen=True)
class Round:
    """Outcome of one sort with injected neurons.

    Attributes
    ----------
    number : int
        Of the round.
    donor : numpy.ndarray of int64, shape (injected,)
        Id of the unit that lent the footprint of each.
    main : numpy.ndarray of int64, shape (injected,)
        Main channel.
    snr, rate : numpy.ndarray of float64, shape (injected,)
    n_spikes : numpy.ndarray of int64, shape (injected,)
    scores : numpy.ndarray of float64, shape (injected, 3)
        Accuracy, recall and precision of the unit that was found for it.
    piece_scores : numpy.ndarray of float64, shape (pieces, 3)
        The same of every found unit that holds an injected neuron.
    piece_features : numpy.ndarray of float64, shape (pieces, features)
    stability : numpy.ndarray of float64, shape (units,)
        Agreement of each unit of the sort with its best partner.
    n_new : int
        Found units that are neither a unit of the sort nor an injected neuron.
    """

    number: int
    donor: IntArray
    main: IntArray
    snr: Values
    rate: Values
    n_spikes: IntArray
    scores: Values
    piece_scores: Values
    piece_features: Values
    stability: Values
    n_new: int

    def save(self, folder: Path) -> None:
        """Write ``round.npz``."""
        arrays: dict[str, Any] = {entry.name: np.asarray(getattr(self, entry.name)) for entry in fields(self)}
        np.savez(folder / FILE, **arrays)

    @classmethod
    def load(cls, folder: Path) -> Round:
        """Read the file that :meth:`save` wrote."""
        with np.load(folder / FILE) as data:
            arrays = dict(data)
        return cls(number=int(arrays.pop("number")), n_new=int(arrays.pop("n_new")), **arrays)


def injections_for(
    binary: BinaryRecording, waveforms: Waveforms, rng: np.random.Generator, number: int | None = None
) -> list[Injection]:
    """Choose the neurons of a round; CannotValidateError where there are too few donors or places."""
    rows = usable_units(waveforms, binary.sampling_frequency)
    if len(rows) < 2:
        raise CannotValidateError(
            f"a validation needs at least 2 units that can lend their footprints (SNR at least {MIN_SNR:g}, "
            f"{MIN_SPIKES} spikes or more, few intervals below 1.5 ms), and {len(rows)} of {waveforms.n_units} are such"
        )
    some = rng.permutation(rows)[: DONORS_PER_NEURON * wanted_number(waveforms, number)]
    injections = plan_injections(binary, waveforms, measure_donors(binary, waveforms, np.sort(some)), rng, number)
    if len(injections) < FEWEST:
        raise CannotValidateError(
            f"a validation needs room for at least {FEWEST} further neurons, and {len(injections)} were placed: the "
            f"footprints of {len(rows)} units, moved over {binary.n_channels} channels, fall beyond the array or on "
            "units that look alike, or would add too many spikes to a recording of few"
        )
    return injections


def round_of(
    number: int, injections: Sequence[Injection], binary: BinaryRecording, waveforms: Waveforms, found: Waveforms
) -> Round:
    """Compare what was `found` with what was injected, and with the units of the sort."""
    frames = [injection.frames for injection in injections]
    scored = score(frames, waveforms.spikes, found.spikes, binary.sampling_frequency)
    counts = np.array([len(train) for train in frames], dtype=np.int64)
    return Round(
        number=number,
        donor=waveforms.unit_ids[[injection.donor for injection in injections]],
        main=np.array([injection.main for injection in injections], dtype=np.int64),
        snr=np.array([injection.snr for injection in injections]),
        rate=counts * binary.sampling_frequency / max(live_frames(binary.dead_time, 0, binary.n_samples), 1),
        n_spikes=counts,
        scores=np.stack([scored.accuracy, scored.recall, scored.precision], axis=1),
        piece_scores=scored.piece_scores,
        piece_features=features(found, binary)[scored.pieces[:, 0]],
        stability=scored.stability,
        n_new=scored.n_new,
    )


def conclude(rounds: Sequence[Round], binary: BinaryRecording, waveforms: Waveforms) -> Validation:
    """Tell from all rounds what to expect of each unit, and of the recording."""
    known = np.concatenate([each.piece_features for each in rounds])
    scores = np.concatenate([each.piece_scores for each in rounds])
    stability = np.mean([each.stability for each in rounds], axis=0)
    found = expected(known, scores, features(waveforms, binary), stability, found_sizes(rounds))
    units = {
        unit: {
            "expected_accuracy": float(found.scores[row, 0]),
            "expected_accuracy_low": float(found.low[row]),
            "expected_accuracy_high": float(found.high[row]),
            "expected_recall": float(found.scores[row, 1]),
            "expected_precision": float(found.scores[row, 2]),
            "stability": float(stability[row]),
            "alike": float(found.alike[row]),
        }
        for row, unit in enumerate(waveforms.unit_ids.tolist())
    }
    return Validation(_table(rounds, binary), units, summary_of(rounds, units))


def found_sizes(rounds: Sequence[Round]) -> Values:
    """Return the logarithms of SNR and number of spikes of the injected neurons that were found, shape (found, 2)."""
    found = np.concatenate([each.scores[:, 0] > 0 for each in rounds])
    snr = np.concatenate([each.snr for each in rounds])[found]
    n_spikes = np.concatenate([each.n_spikes for each in rounds])[found]
    return np.stack([np.log(snr), np.log10(np.maximum(n_spikes, 1))], axis=1)


def _table(rounds: Sequence[Round], binary: BinaryRecording) -> list[dict[str, Any]]:
    rows = []
    for each in rounds:
        for index in range(len(each.snr)):
            main = int(each.main[index])
            x, y = binary.locations[main].tolist()
            values = (
                each.number, int(each.donor[index]), binary.channel_ids[main], x, y, float(each.snr[index]),
                float(each.rate[index]), int(each.n_spikes[index]), *each.scores[index].tolist(),
            )  # fmt: skip
            rows.append(dict(zip(INJECTED, values, strict=True)))
    return rows


def summary_of(rounds: Sequence[Round], units: dict[int, dict[str, float]]) -> dict[str, Any]:
    """Tell of the recording as a whole.

    Returns
    -------
    dict
        ``rounds``; ``n_injected`` neurons, of which ``n_found`` with an accuracy of 0.8 or more; ``smallest_snr``, from
        which on 80 % are found, with the ends of its 90 % interval, None where the injected ones do not tell;
        ``curve``, offset and slope of the share found as a logistic function of the logarithm of the SNR, None where
        ``smallest_snr`` is;
        ``expected_accuracy``, the mean over the units that it is known of, ``n_known`` in number; ``stability``, the
        mean over all units; ``n_new`` units per round that were there neither before nor injected.

    Examples
    --------
    >>> import numpy as np
    >>> from spikelab.spike_sorting.validation import Round, summary_of
    >>> ten, none = np.linspace(3, 12, 10), np.empty((0, 3))
    >>> scores = np.repeat(np.where(ten > 6, 0.99, 0.0)[:, None], 3, axis=1)
    >>> sort = Round(0, ten, ten, ten, ten, ten, scores, none, none, stability=np.array([0.98]), n_new=0)
    >>> told = summary_of([sort], {4: {"expected_accuracy": 0.97, "stability": 0.98}})
    >>> told["n_found"], told["expected_accuracy"], round(told["smallest_snr"][0])
    (6, 0.97, 8)
    """
    snr = np.concatenate([each.snr for each in rounds])
    accuracy = np.concatenate([each.scores[:, 0] for each in rounds])
    expect = np.array([values["expected_accuracy"] for values in units.values()])
    is_known = np.isfinite(expect)
    smallest = smallest_found(snr, accuracy >= FOUND)
    return {
        "rounds": len(rounds),
        "n_injected": len(snr),
        "n_found": int(np.sum(accuracy >= FOUND)),
        "smallest_snr": smallest,
        "curve": None if smallest is None else curve_of(snr, accuracy >= FOUND),
        "expected_accuracy": float(expect[is_known].mean()) if is_known.any() else None,
        "n_known": int(is_known.sum()),
        "stability": float(np.mean([values["stability"] for values in units.values()])),
        "n_new": float(np.mean([each.n_new for each in rounds])),
    }

"""Whether two units are one neuron: what their coincidences, their refractoriness and their times say.

Likeness of templates cannot tell: neighbours look alike, and two trains of a few hundred spikes have next to no
violations of the refractory period when they are put together, whoever fired them. Three things can:

- one spike was found twice: most spikes of either unit come with a spike of the other, always at the same lag; or
  most of the smaller unit alone, and the larger one's other spikes look like these,
- the spikes of one neuron were shared out: the two units never fire within the refractory period of each other, though
  they do just beyond it, and by then so often that chance cannot have left the gap,
- a neuron was lost and found again, as it moved or changed: the one unit ends where the other begins.

Where most spikes of a smaller unit come with spikes of a larger one whose other spikes look otherwise, these spikes are
of the smaller unit: the larger one holds them besides its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from spikelab.spikedata import _epochs
from spikelab.spikedata._alike import ALIKE, SMALLER, are_others, without

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]

Verdict: TypeAlias = Literal["coincident", "refractory", "successive", "contained", "different"]

# One spike that is found twice is found at the same sample, or at a neighbouring one: noise moves the extreme of a
# small spike by a sample or two at 20 kHz. Two neurons, one of which drives the other, scatter by half a millisecond.
JITTER_MS = 0.2
DUPLICATE_SHARE = 0.5  # of the spikes of a unit, beyond chance: it is more the other unit's than its own
DUPLICATE_P = 1e-3  # that chance makes so many coincidences: two spikes that coincide are an accident
# From where two spikes of different neurons can be told apart to where the refractory period of most neurons ends.
REFRACTORY_MS = (0.5, 2.0)
SHOULDER_MS = (3.0, 20.0)  # where the rate is taken from that the refractory period is compared with: bursts are in it
REFRACTORY_P = 1e-3  # that two neurons leave so few by chance; a recording has some dozens of neighbours that are alike
# Of the coincidences that are expected of two neurons: as many as another neuron's spikes, strewn in, leave. More is
# what is left of two.
REFRACTORY_SHARE = 0.2
# Share of pairs of spikes in the order "the one unit before the other". Two neurons that fire all the time have a half;
# what is missing to 1 is the time in which a moving neuron fits both templates.
SUCCESSION = 0.95
SUCCESSION_SPIKES = 20  # of each: fewer may be in that order because they are few
SUCCESSION_GAP = 0.25  # of the shorter unit's time: two neurons end and begin where they like
# Cosine of two templates of which one ends where the other begins: neighbours have 0.9, and end where they like. A unit
# that was seen to move or to change its size may look as different as its piece at another time does.
SUCCESSION_ALIKE = 0.95
SEEN_UM, SEEN_RATIO = 5.0, 1.2  # how far it went, its largest amplitude over its smallest


@dataclass(frozen=True)
class Judgement:
    """What was found on a pair of units."""

    verdict: Verdict
    lag_ms: float  # by how much the second unit's spikes come later than the first one's
    n_coincident: int  # coincidences within the jitter, at one lag
    n_by_chance: float  # coincidences that the rates around make
    n_refractory: int  # pairs of spikes within the refractory period
    n_expected: float  # of them, if the two fired independently

    @property
    def is_one(self) -> bool:
        """Whether the two are one neuron."""
        return self.verdict in ("coincident", "refractory", "successive")


@dataclass(frozen=True)
class Side:
    """What is known of a unit of a pair."""

    times: FloatArray  # ms, ascending
    template: FloatArray  # (samples, channels); of both units of a pair the spike is at the same sample
    snr: float = np.nan
    changes: bool = False  # it was seen to move or to change its size


def changes(attributes: Mapping[str, Any]) -> bool:
    """Tell by the attributes of a unit whether it, or the tissue around it, was seen to move, or its size to change."""
    moved, ratio = attributes.get("moved_um", 0.0), attributes.get("size_ratio", 1.0)
    return bool(moved >= SEEN_UM or ratio >= SEEN_RATIO)


def judge(
    one: Side,
    other: Side,
    *,
    similarity: float,
    lag_frames: int,
    frame_ms: float,
    delta_ms: float,
    length_ms: float,
    starts: FloatArray | None = None,
) -> Judgement:
    """Judge two units by their spikes, and by how alike their templates are at the best of their lags.

    By `lag_frames` the spikes of the other are later, if the waveforms of both are the same. `frame_ms` is 0 where it
    is not known.
    """
    first, second = one.times, other.times
    alike = similarity >= ALIKE
    lag = lag_frames * frame_ms if alike else 0.0
    lags = lags_between(first, second, SHOULDER_MS[1] + abs(lag), starts)
    candidates = [0.0] if abs(lag) <= delta_ms else [0.0, lag]
    at, n_coincident = max((_densest(lags, near, delta_ms) for near in candidates), key=lambda found: found[1])
    window = 2 * min(JITTER_MS, delta_ms)
    chance = max(_per_ms(lags, at), len(first) * len(second) / max(length_ms, 1.0)) * window
    n_refractory, n_expected = _refractory(lags - lag)
    counts = n_coincident, chance, n_refractory, n_expected
    if _are_duplicates(n_coincident, chance, min(len(first), len(second))):
        late = round(at / frame_ms) if frame_ms else 0
        is_contained = _is_contained(one, other, n_coincident, chance, late)
        return Judgement("contained" if is_contained else "coincident", at, *counts)
    return Judgement(_apart(one, other, similarity, n_refractory, n_expected), lag, *counts)


def _is_contained(one: Side, other: Side, n_coincident: int, chance: float, late: int) -> bool:
    """Tell whether the larger unit of two holds the smaller one's spikes besides its own.

    Spikes of the other are `late` samples behind.
    """
    larger, smaller, lag = (one, other, late) if len(one.times) > len(other.times) else (other, one, -late)
    few = n_coincident - chance < DUPLICATE_SHARE * len(larger.times)
    return few and _holds(larger, smaller, n_coincident, lag)


def _apart(one: Side, other: Side, similarity: float, n_refractory: int, n_expected: float) -> Verdict:
    """Judge two units that do not share their spikes."""
    if similarity >= ALIKE and _are_refractory(n_refractory, n_expected):
        return "refractory"
    least = ALIKE if one.changes or other.changes else SUCCESSION_ALIKE
    one_shape = similarity >= least and n_refractory <= REFRACTORY_SHARE * max(n_expected, 1.0)
    return "successive" if one_shape and _follow(one.times, other.times) else "different"


def lags_between(first: FloatArray, second: FloatArray, reach_ms: float, starts: FloatArray | None) -> FloatArray:
    """Compute how much later the spikes of `second` are than those of `first`, ascending, for all pairs within reach.

    `starts` of later epochs: no pair lies across one.
    """
    if starts is not None:  # epochs are moved apart, for between them any time may have passed
        first, second = (times + (reach_ms + 1) * _epochs.epoch_of(times, starts) for times in (first, second))
    begin = np.searchsorted(second, first - reach_ms, side="left")
    counts = np.searchsorted(second, first + reach_ms, side="right") - begin
    row = np.repeat(np.arange(len(first)), counts)
    column = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + begin[row]
    lags: FloatArray = np.sort(second[column] - first[row])
    return lags


def _densest(lags: FloatArray, near: float, delta_ms: float) -> tuple[float, int]:
    """Find the lag within `delta_ms` of `near` around which most lags lie, none further than the jitter: lag, count."""
    own = lags[np.searchsorted(lags, near - delta_ms) : np.searchsorted(lags, near + delta_ms, side="right")]
    if not len(own):
        return near, 0
    ends = np.searchsorted(own, own + 2 * JITTER_MS + _epochs.TOLERANCE_MS, side="right")
    counts = ends - np.arange(len(own))
    best = int(np.argmax(counts))
    return float(np.median(own[best : ends[best]])), int(counts[best])


def _per_ms(lags: FloatArray, centre: float) -> float:
    """Count the lags in both shoulders of `centre`, per millisecond; of the higher one, as bursts have one."""
    near, far = SHOULDER_MS[0], SHOULDER_MS[1] / 2
    after = np.searchsorted(lags, centre + far) - np.searchsorted(lags, centre + near)
    before = np.searchsorted(lags, centre - near) - np.searchsorted(lags, centre - far)
    return float(max(after, before)) / (far - near)


def _refractory(lags: FloatArray) -> tuple[int, float]:
    """Count the lags within the refractory period, and how many of them the shoulders make expect."""
    distance = np.abs(lags)
    inside = int(((distance >= REFRACTORY_MS[0]) & (distance < REFRACTORY_MS[1])).sum())
    around = int(((distance >= SHOULDER_MS[0]) & (distance < SHOULDER_MS[1])).sum())
    return inside, around * (REFRACTORY_MS[1] - REFRACTORY_MS[0]) / (SHOULDER_MS[1] - SHOULDER_MS[0])


def _are_duplicates(n_coincident: int, chance: float, n_spikes: int) -> bool:
    from scipy.special import pdtrc

    beyond = n_coincident - chance >= DUPLICATE_SHARE * n_spikes
    return n_coincident > 0 and beyond and float(pdtrc(n_coincident - 1, chance)) <= DUPLICATE_P


def _holds(larger: Side, smaller: Side, n_shared: int, lag: int) -> bool:
    """Tell whether a unit's other spikes are not those of a smaller one, whose spikes it has `lag` samples earlier.

    They look otherwise, or are much smaller: by the templates, and by the SNR, the mean of both kinds.
    """
    share = n_shared / len(larger.times)
    if larger.snr < (share + (1 - share) * SMALLER) * smaller.snr:  # not where either is not known
        return True
    return are_others(*without(larger.template, smaller.template, share, lag))


def _are_refractory(n_refractory: int, n_expected: float) -> bool:
    from scipy.special import pdtr

    few = n_refractory <= REFRACTORY_SHARE * n_expected
    return few and float(pdtr(n_refractory, n_expected)) <= REFRACTORY_P


def _follow(first: FloatArray, second: FloatArray) -> bool:
    """Tell whether one unit ends where the other begins."""
    if min(len(first), len(second)) < SUCCESSION_SPIKES:
        return False
    before = float(np.searchsorted(first, second).mean()) / len(first)
    if max(before, 1 - before) < SUCCESSION:
        return False
    earlier, later = (first, second) if before > 0.5 else (second, first)
    ends, begins = float(np.quantile(earlier, 0.95)), float(np.quantile(later, 0.05))
    spans = [float(np.ptp(np.quantile(times, (0.05, 0.95)))) for times in (earlier, later)]
    return begins - ends <= SUCCESSION_GAP * min(spans)

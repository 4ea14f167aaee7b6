"""Parameters of :func:`detect_sequences`: those of the publication, by their names, and those of this package.

The published values (van der Molen, Lim et al. 2024, doi:10.1371/journal.pone.0312438) are in :data:`PUBLISHED`. The
defaults were chosen by measurement (see docs/rt_sort.md).
"""

from __future__ import annotations

import difflib
import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True)
class SequenceParameters:
    """Parameters of the search for sequences and of the assignment of spikes to them.

    Attributes
    ----------
    stringent_thresh : float
        Least probability of a spike at the root electrode and at a codetection beside it.
    loose_thresh : float
        Least mean probability of a spike at an electrode that takes part in a sequence ("loose electrode"), and of one
        spike whose latency there is used.
    inference_scaling_numerator : float or None
        Models in the published format only: their input is scaled by this over the median interquartile range.
    ms_before, ms_after : float
        Codetections are within this time of the root's spike, in ms.
    pre_median_ms : float
        The noise of a channel is measured in blocks of this length, in ms: the median of the nine blocks before.
    inner_radius, outer_radius : float
        Codetections are searched for, and roots compete, within these distances, in um.
    min_elecs_for_array_noise_n, min_elecs_for_array_noise_f : float
        A spike on this many electrodes at once (this fraction of all, if that is more) is noise of the array. Off,
        since on a thousand busy electrodes a hundred see something all the time; artefacts are silenced, see
        :mod:`.artefacts`. Where one of the two is given, the other has its published value.
    min_elecs_for_seq_noise_n, min_elecs_for_seq_noise_f : float
        The same for the loose electrodes of a sequence.
    min_activity_root_cocs : int
        Electrodes within the inner radius, the root included, that must see an event.
    min_activity_hz : float
        Least rate of an electrode to be a root. 0: any, since in an hour a rare neuron has enough spikes to be learnt.
    max_n_components_latency : int
        Most components when the events of a root are split by the latency on a neighbour; 1: they are not. See
        :mod:`.learning.branches`.
    min_coc_n, min_coc_p, min_extend_comp_p : int, float, float
        Fewest spikes of a branch, as a count and in per cent of the root's; per cent of a branch that must be seen on
        the next electrode for it to be extended there.
    elec_patience : int
        Distances without a split after which a branch is complete.
    split_coc_clusters_amps : bool
        Split by the root's amplitude where it is not unimodal.
    min_amp_dist_p : float
        ... which is when Hartigan's dip test gives a smaller p.
    max_n_components_amp : int
        Most components of that split.
    min_loose_elec_prob : float
        Least mean probability of an electrode of a sequence.
    min_inner_loose_detections : int
        Fewest loose electrodes within the inner radius, the root included.
    min_loose_detections_n : int
        Fewest loose electrodes of a sequence.
    min_loose_detections_r_spikes : float
        Fraction of a sequence's electrodes (up to 12, of 2 sigma and more) that must see a spike: half of the size
        that it should have there.
    min_loose_detections_r_sequences : float
        Fraction of the loose electrodes that two sequences must share to be merged.
    max_latency_diff_spikes, max_latency_diff_sequences : float
        Largest weighted mean difference of latencies, in frames.
    clip_latency_diff_factor : float
        One electrode's difference counts as at most this many times the largest.
    max_amp_median_diff_spikes, max_amp_median_diff_sequences : float
        Largest weighted mean difference of amplitudes, relative, after a common scale.
    clip_amp_median_diff_factor : float
        One electrode's difference counts as at most this many times the largest.
    max_root_amp_median_std_spikes, max_root_amp_median_std_sequences : float
        Largest deviation of the size, in standard deviations of the sequence (between sequences no less than
        `scale_std`).
    repeated_detection_overlap_time : float
        Of spikes of one sequence, or of sequences at one place, closer than this only the better counts, in ms.
    min_seq_spikes_n, min_seq_spikes_hz : int, float
        Fewest spikes of a sequence, and its least rate over the whole recording.
    relocate_root_min_amp, relocate_root_max_latency : float
        The root moves to an electrode with at least this fraction of its amplitude that is this much earlier (frames).
    match_threshold : float
        A spike explains at least this much energy, in squared standard deviations of a filter's output in noise: 20
        is what noise reaches about four times in 10^6 trials.
    min_scale, max_scale : float
        A spike is its sequence's template times a factor in this range: spikes in bursts are smaller.
    scale_std : float
        Usual deviation of that factor from 1.
    merge_unimodality : float
        Two groups of spikes with a score below are one; see :mod:`.learning.splitting`.
    merge_similarity : float
        Smallest cosine between the whitened templates of two groups that are merged.
    min_discriminability : float
        Norm of a sequence's whitened template: what an ideal observer sees, in standard deviations of noise.
    max_events : int
        Spikes that are clustered, at most, over the whole array.
    learning_s : float
        Seconds of the recording that templates are learnt on, at most: what each step of learning reads and costs. A
        shorter recording is used whole; of a longer one the parts around events, the same number of every group.
    """

    stringent_thresh: float = 0.275
    loose_thresh: float = 0.07
    inference_scaling_numerator: float | None = 12.6
    ms_before: float = 0.5
    ms_after: float = 0.5
    pre_median_ms: float = 50.0
    inner_radius: float = 50.0
    outer_radius: float = 100.0
    min_elecs_for_array_noise_n: float = math.inf
    min_elecs_for_array_noise_f: float = math.inf
    min_elecs_for_seq_noise_n: float = math.inf
    min_elecs_for_seq_noise_f: float = math.inf
    min_activity_root_cocs: int = 1
    min_activity_hz: float = 0.0
    max_n_components_latency: int = 1
    min_coc_n: int = 10
    min_coc_p: float = 10.0
    min_extend_comp_p: float = 50.0
    elec_patience: int = 6
    split_coc_clusters_amps: bool = False
    min_amp_dist_p: float = 0.1
    max_n_components_amp: int = 4
    min_loose_elec_prob: float = 0.03
    min_inner_loose_detections: int = 1
    min_loose_detections_n: int = 1
    min_loose_detections_r_spikes: float = 0.0
    min_loose_detections_r_sequences: float = 0.0
    max_latency_diff_spikes: float = math.inf
    max_latency_diff_sequences: float = math.inf
    clip_latency_diff_factor: float = 2.0
    max_amp_median_diff_spikes: float = math.inf
    max_amp_median_diff_sequences: float = math.inf
    clip_amp_median_diff_factor: float = 2.0
    max_root_amp_median_std_spikes: float = math.inf
    max_root_amp_median_std_sequences: float = math.inf
    repeated_detection_overlap_time: float = 0.2
    min_seq_spikes_n: int = 10
    min_seq_spikes_hz: float = 0.0
    relocate_root_min_amp: float = 0.8
    relocate_root_max_latency: float = -2.0
    match_threshold: float = 20.0
    min_scale: float = 0.5
    max_scale: float = 1.6
    scale_std: float = 0.2
    merge_unimodality: float = 2.2
    merge_similarity: float = 0.7
    min_discriminability: float = 4.5
    max_events: int = 60_000
    learning_s: float = 180.0


_PUBLISHED_MEA: dict[str, Any] = {
    "stringent_thresh": 0.275,
    "loose_thresh": 0.1,
    "inference_scaling_numerator": 12.6,
    "min_elecs_for_array_noise_n": 100,
    "min_elecs_for_array_noise_f": 0.1,
    "min_elecs_for_seq_noise_n": 300,
    "min_elecs_for_seq_noise_f": 0.05,
    "min_activity_root_cocs": 2,
    "min_activity_hz": 0.05,
    "min_seq_spikes_hz": 0.05,
    "max_n_components_latency": 4,
    "split_coc_clusters_amps": True,
    "min_inner_loose_detections": 3,
    "min_loose_detections_n": 4,
    "min_loose_detections_r_spikes": 1 / 3,
    "min_loose_detections_r_sequences": 1 / 3,
    "max_latency_diff_spikes": 3.5,
    "max_latency_diff_sequences": 3.5,
    "max_amp_median_diff_spikes": 0.65,
    "max_amp_median_diff_sequences": 0.65,
    "max_root_amp_median_std_spikes": 2.5,
}
PUBLISHED: dict[str, dict[str, Any]] = {
    "mea": _PUBLISHED_MEA,
    "neuropixels": _PUBLISHED_MEA
    | {
        "stringent_thresh": 0.175,
        "loose_thresh": 0.075,
        "inference_scaling_numerator": 15.4,
        "max_latency_diff_spikes": 2.5,
        "max_latency_diff_sequences": 2.5,
        "max_amp_median_diff_spikes": 0.45,
        "max_amp_median_diff_sequences": 0.45,
        "max_root_amp_median_std_sequences": 2.5,
    },
}
"""Where the published values differ from the defaults here, by probe: ``detect_sequences(..., **PUBLISHED["mea"])``."""

DEFAULTS: dict[str, dict[str, Any]] = {
    "mea": {},
    "neuropixels": {"stringent_thresh": 0.175, "inference_scaling_numerator": 15.4},
}

TOGETHER = (
    ("min_elecs_for_array_noise_n", "min_elecs_for_array_noise_f"),
    ("min_elecs_for_seq_noise_n", "min_elecs_for_seq_noise_f"),
)  # the larger of two limits counts
NAMES = tuple(field.name for field in fields(SequenceParameters))


def resolve(probe: str, given: Mapping[str, Any] | None = None) -> SequenceParameters:
    """Apply `given` to the defaults for the probe; raises ValueError for an unknown name or an impossible value."""
    given = dict(given or {})
    for name in given:
        if name not in NAMES:
            near = difflib.get_close_matches(name, NAMES, n=3, cutoff=0.5)
            hint = f"nearest: {', '.join(near)}" if near else f"there are {len(NAMES)}"
            raise ValueError(
                f"Unknown parameter {name!r} of detect_sequences; {hint}. All of them: the page 'Parameters of "
                "RT-Sort' of the documentation, or in Python help(spikelab.spike_sorting.rt_sort.SequenceParameters)"
            )
    for pair in TOGETHER:
        if any(name in given for name in pair):
            given = {**{name: PUBLISHED[probe][name] for name in pair}, **given}
    parameters = replace(SequenceParameters(), **{**DEFAULTS[probe], **given})
    _check(parameters)
    return parameters


def _check(parameters: SequenceParameters) -> None:
    _check_each(parameters)
    for name in ("stringent_thresh", "loose_thresh"):
        if not 0 < getattr(parameters, name) < 1:
            raise ValueError(f"{name} is a probability between 0 and 1, got {getattr(parameters, name)!r}")
    if parameters.loose_thresh > parameters.stringent_thresh:
        raise ValueError(
            f"loose_thresh ({parameters.loose_thresh:g}) must not be above stringent_thresh "
            f"({parameters.stringent_thresh:g})"
        )
    if not 0 < parameters.min_scale < 1 < parameters.max_scale:
        raise ValueError("min_scale must lie between 0 and 1, and max_scale above 1")


def _check_each(parameters: SequenceParameters) -> None:
    for name in NAMES:
        value = getattr(parameters, name)
        if name == "inference_scaling_numerator" and value is None:
            continue
        kind = type(getattr(SequenceParameters, name))
        if not _is_a(value, kind):
            raise ValueError(f"{name} must be a {kind.__name__}, got {value!r}")
        if name != "relocate_root_max_latency" and value < 0:
            raise ValueError(f"{name} must not be negative, got {value!r}")
        if name in ("scale_std", "learning_s") and value == 0:
            raise ValueError(f"{name} must be above 0: with 0 no spike would be found")


def _is_a(value: Any, kind: type) -> bool:
    """Test whether a value has the type of a parameter; whole numbers are floats too, and NaN is none."""
    if isinstance(value, bool):
        return kind is bool
    return isinstance(value, (int, float) if kind is float else kind) and value == value

"""Which values of parameters are refused, and what is left of the defaults of a probe."""

from __future__ import annotations

import math
from typing import Any

import pytest

from spikelab.spike_sorting.rt_sort.parameters import DEFAULTS, NAMES, PUBLISHED, SequenceParameters, resolve


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_coc_n": 2.5}, "min_coc_n must be a int, got 2.5"),
        ({"min_coc_n": True}, "min_coc_n must be a int, got True"),
        ({"split_coc_clusters_amps": 1}, "split_coc_clusters_amps must be a bool, got 1"),
        ({"scale_std": "0.2"}, "scale_std must be a float, got '0.2'"),
        ({"scale_std": math.nan}, "scale_std must be a float, got nan"),
        ({"outer_radius": None}, "outer_radius must be a float, got None"),
        ({"outer_radius": -1.0}, "outer_radius must not be negative, got -1.0"),
        ({"inference_scaling_numerator": -1.0}, "must not be negative"),
        ({"stringent_thresh": 1.0}, "stringent_thresh is a probability between 0 and 1, got 1.0"),
        ({"loose_thresh": 0.0}, "loose_thresh is a probability between 0 and 1, got 0.0"),
        ({"loose_thresh": 0.5, "stringent_thresh": 0.4}, r"loose_thresh \(0.5\) must not be above stringent_thresh"),
        ({"min_scale": 1.0}, "min_scale must lie between 0 and 1"),
        ({"min_scale": 0.0}, "min_scale must lie between 0 and 1"),
        ({"max_scale": 1.0}, "max_scale above 1"),
        ({"outer_radios": 1.0}, "Unknown parameter 'outer_radios' .*nearest: outer_radius"),
        ({"zzz": 1.0}, "Unknown parameter 'zzz' of detect_sequences; there are \\d+. All of them: the page"),
    ],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve("mea", given)


@pytest.mark.parametrize(
    "given",
    [
        {"inference_scaling_numerator": None},
        {"loose_thresh": 0.3, "stringent_thresh": 0.3},
        {"outer_radius": 0.0},
        {"outer_radius": 50},  # whole numbers are numbers
        {"relocate_root_max_latency": -5.0},
        {"max_latency_diff_spikes": math.inf},
        {"min_scale": 0.01, "max_scale": 1.01},
    ],
)
def test_what_makes_sense_is_taken(given: dict[str, Any]) -> None:
    made = resolve("mea", given)
    for name in NAMES:
        assert getattr(made, name) == given.get(name, getattr(SequenceParameters, name))


def test_defaults_of_a_probe_come_first_and_what_is_given_on_top() -> None:
    assert resolve("mea") == SequenceParameters()
    probe = resolve("neuropixels")
    assert (probe.stringent_thresh, probe.inference_scaling_numerator) == (0.175, 15.4)
    assert resolve("neuropixels", {"stringent_thresh": 0.2}).stringent_thresh == 0.2


@pytest.mark.parametrize("probe", DEFAULTS)
def test_published_values_are_valid_and_as_published(probe: str) -> None:
    made = resolve(probe, PUBLISHED[probe])
    assert made.min_loose_detections_r_spikes == made.min_loose_detections_r_sequences == pytest.approx(1 / 3)
    assert (made.min_activity_root_cocs, made.max_n_components_latency, made.split_coc_clusters_amps) == (2, 4, True)
    assert (made.min_inner_loose_detections, made.min_loose_detections_n) == (3, 4)
    assert made.max_root_amp_median_std_spikes == 2.5
    different = {
        "mea": (0.275, 0.1, 12.6, 3.5, 3.5, 0.65, 0.65, math.inf),
        "neuropixels": (0.175, 0.075, 15.4, 2.5, 2.5, 0.45, 0.45, 2.5),
    }
    assert (
        made.stringent_thresh, made.loose_thresh, made.inference_scaling_numerator, made.max_latency_diff_spikes,
        made.max_latency_diff_sequences, made.max_amp_median_diff_spikes, made.max_amp_median_diff_sequences,
        made.max_root_amp_median_std_sequences,
    ) == different[probe]  # fmt: skip


@pytest.mark.parametrize("kind", ["array", "seq"])
def test_limits_on_electrodes_are_off_until_one_of_two_is_given(kind: str) -> None:
    count, fraction = (f"min_elecs_for_{kind}_noise_{end}" for end in "nf")
    published = PUBLISHED["mea"]

    def limits(**given: float) -> tuple[float, float]:
        made = resolve("mea", given)
        return getattr(made, count), getattr(made, fraction)

    assert limits() == (math.inf, math.inf)
    assert limits(**{count: 7}) == (7, published[fraction])
    assert limits(**{fraction: 0.2}) == (published[count], 0.2)
    assert limits(**{count: 7, fraction: 0.0}) == (7, 0.0)
    assert {published[count], published[fraction]} in ({100, 0.1}, {300, 0.05})

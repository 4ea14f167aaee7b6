"""Classify the failure of a sorter. The rules are in ``failures/``."""

from spikelab.spike_sorting.failures.classifier import (
    cause_of,
    classify_failure,
    classify_ks2_failure,
    classify_ks4_failure,
    classify_outside_sorter,
    classify_rt_sort_failure,
    classify_without_activity,
    exception_chain,
)

__all__ = [
    "cause_of",
    "classify_failure",
    "classify_ks2_failure",
    "classify_ks4_failure",
    "classify_outside_sorter",
    "classify_rt_sort_failure",
    "classify_without_activity",
    "exception_chain",
]

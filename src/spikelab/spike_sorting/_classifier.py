"""Classify the failure of a sorter. The rules are in ``failures/``."""

from spikelab.spike_sorting.failures.classifier import (
    classify_ks2_failure,
    classify_ks4_failure,
    classify_rt_sort_failure,
)

__all__ = ["classify_ks2_failure", "classify_ks4_failure", "classify_rt_sort_failure"]

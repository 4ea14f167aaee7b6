"""What scripts rely on that were written for the peer of the same name: words in messages that callers search for."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spikelab import SpikeData
from spikelab.spike_sorting import sort_multistream, sort_recording
from spikelab.spike_sorting._exceptions import EmptyWaveformMetricsError


@pytest.mark.parametrize("folders", ["results_folders", "intermediate_folders"])
def test_folder_lists_of_another_length(folders: str) -> None:
    with pytest.raises(ValueError, match="same length"):
        sort_recording(["a.h5", "b.h5"], sorter="threshold", **{folders: ["only one"]})


@pytest.mark.parametrize("keyword", ["stream_id", "intermediate_folders", "results_folders"])
def test_what_sort_multistream_sets_itself(keyword: str) -> None:
    with pytest.raises(ValueError, match=f"Do not pass '{keyword}'"):
        sort_multistream("a.raw.h5", ["well000"], **{keyword: "well000"})


@pytest.mark.parametrize(
    "call", [lambda sd: sd.curate_by_isi_violations(method="x"), lambda sd: sd.curate(isi_max=0.1, isi_method="x")]
)
def test_an_unknown_way_to_count_violations(call: Callable[[SpikeData], Any]) -> None:
    with pytest.raises(ValueError, match="method must be"):
        call(SpikeData([[1, 2]]))


@pytest.mark.parametrize("criterion", ["curate_by_snr", "curate_by_std_norm"])
def test_a_waveform_metric_without_a_source(criterion: str) -> None:
    with pytest.raises(EmptyWaveformMetricsError, match="compute_waveform_metrics"):
        getattr(SpikeData([[1, 2]]), criterion)()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"train": [[np.nan, 1.0]]}, r"unit 0.*NaN"),
        ({"train": [[1.0], [2.0, np.nan]]}, r"unit 1.*NaN"),
        ({"train": [[4.0, 9.0]], "start_time": 5.0}, r"before start_time"),
        ({"train": [[4.0, 9.0]], "length": 8.0}, r"exceeds end of time window"),
    ],
)
def test_spikes_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SpikeData(**arguments)


def test_a_merge_without_places() -> None:
    with pytest.raises(ValueError, match=re.escape("unit_locations is None")):
        SpikeData([[1], [2]]).curate_by_merge_duplicates()

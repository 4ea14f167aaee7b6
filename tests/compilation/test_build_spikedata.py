from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from spikelab.spike_sorting.compilation import build_spikedata
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.data.spike_trains import MEASURES

Make = Callable[..., Any]


def config(**fields: Any) -> SortingPipelineConfig:
    return SortingPipelineConfig.from_kwargs(**fields)


def test_trains_are_milliseconds_over_the_whole_recording(make_sort: Make) -> None:
    sd = build_spikedata(*make_sort(), config())
    assert sd.N == 4
    assert sd.length == 3000.0
    np.testing.assert_array_equal(sd.train[0], [5.0, 250.0, 750.0, 1250.0, 2950.0])
    assert sd.unit_ids == [3, 7, 8, 9]


def test_attributes_say_where_and_how_large_a_unit_is(make_sort: Make) -> None:
    unit = build_spikedata(*make_sort(), config()).neuron_attributes[1]
    expected = {"unit_id": 7, "channel": 2, "channel_id": "12", "electrode": 112, "x": 0.0, "y": 17.5}
    assert {key: unit[key] for key in expected} == expected
    assert unit["amplitude"] == 90.0
    assert unit["snr"] == 9.0
    assert unit["std_norm"] == 0.25
    assert unit["has_pos_peak"] is True
    np.testing.assert_array_equal(unit["amplitudes"], [0, 0, 90, 10])
    np.testing.assert_array_equal(unit["peak_inds"], [0, 0, 40, 45])
    np.testing.assert_array_equal(unit["std_norms_all"], [0.25] * 4)
    assert unit["spike_train_samples"].dtype == np.int64
    np.testing.assert_array_equal(unit["spike_train_samples"], [200, 21_000, 45_000])
    assert "epoch_templates" not in unit


def test_equal_windows_share_one_template(make_sort: Make) -> None:
    unit = build_spikedata(*make_sort(), config()).neuron_attributes[0]
    assert unit["template"].shape == (81, 4)
    assert unit["template"].dtype == np.float32
    assert unit["template_full"] is unit["template"]
    assert unit["template_windowed"] is unit["template"]
    assert unit["template"][unit["template_peak_ind"], unit["channel"]] == -50


def test_a_shorter_compiled_window_is_cut_around_the_peak(make_sort: Make) -> None:
    fields = {"compiled_waveforms_ms_before": 0.5, "compiled_waveforms_ms_after": 1.0}
    sd = build_spikedata(*make_sort(), config(**fields))
    unit = sd.neuron_attributes[0]
    assert unit["template"].shape == (10 + 20 + 1, 4)
    assert unit["template_windowed"] is unit["template"]
    assert unit["template_full"].shape == (81, 4)
    assert unit["template_peak_ind"] == 10
    assert unit["template"][10, 0] == -50
    assert sd.metadata["template_full_peak_ind"] == 40
    assert unit["template_full"][40, 0] == -50
    np.testing.assert_array_equal(unit["peak_inds"], [10, 15, 0, 0])


@pytest.mark.parametrize("field", ["compiled_waveforms_ms_before", "compiled_waveforms_ms_after"])
def test_a_longer_compiled_window_is_refused(make_sort: Make, field: str) -> None:
    with pytest.raises(ValueError, match="longer than the extracted one"):
        build_spikedata(*make_sort(), config(**{field: 2.1}))


def test_metadata_of_an_unbroken_recording(make_sort: Make) -> None:
    metadata = build_spikedata(*make_sort(), config()).metadata
    assert metadata["source_file"] == "a.h5"
    assert metadata["source_format"] == "maxwell"
    assert metadata["fs_Hz"] == 20_000.0
    assert metadata["n_samples"] == 60_000
    assert metadata["channel_locations"].shape == (4, 2)
    assert "rec_chunks_ms" not in metadata
    assert metadata["rec_chunk_sources"] == [
        {
            "source_file": "a.h5",
            "source_segment": 0,
            "source_start_frame": 1_000,
            "source_end_frame": 61_000,
            "source_index": 0,
        }
    ]


def test_epochs_remember_their_range_and_origin(make_sort: Make, two_files: Any) -> None:
    sd = build_spikedata(*make_sort(two_files), config())
    metadata = sd.metadata
    assert metadata["rec_chunks_frames"] == [[0, 20_000], [20_000, 40_000], [40_000, 60_000]]
    assert metadata["rec_chunks_ms"] == [[0, 1000], [1000, 2000], [2000, 3000]]
    assert metadata["rec_chunk_names"] == ["a", "a", "b"]
    assert metadata["rec_chunk_source_files"] == ["a.h5", "a.h5", "b.h5"]
    origins = [
        (s["source_index"], s["source_start_frame"], s["source_end_frame"]) for s in metadata["rec_chunk_sources"]
    ]
    assert origins == [(0, 1_000, 21_000), (0, 50_000, 70_000), (1, 0, 20_000)]
    assert json.loads(json.dumps({k: v for k, v in metadata.items() if k != "channel_locations"}))
    assert sd.neuron_attributes[0]["epoch_templates"].shape == (3, 81, 4)


def test_no_electrodes_is_none(make_sort: Make) -> None:
    unit = build_spikedata(*make_sort(electrodes=False), config()).neuron_attributes[0]
    assert unit["electrode"] is None


def test_what_the_sorter_measured_of_a_unit_is_an_attribute(make_sort: Make) -> None:
    recording, waveforms = make_sort()
    ids = np.sort(waveforms.unit_ids)
    trains = SpikeTrains(
        ids, (np.arange(3),) * 4, measures=dict(zip(MEASURES, (10.0 * ids, 1.0 + ids, 2.0 + ids), strict=True))
    )
    found = build_spikedata(recording, waveforms, config(), trains).neuron_attributes
    assert [unit["unit_id"] for unit in found] == waveforms.unit_ids.tolist()
    assert all(unit["moved_um"] == 10 * unit["unit_id"] for unit in found)
    assert all(unit["size_ratio"] == 1 + unit["unit_id"] for unit in found)
    assert all(unit["sorter_significance"] == 2 + unit["unit_id"] for unit in found)


def test_zero_units(make_sort: Make) -> None:
    sd = build_spikedata(*make_sort(n_units=0), config())
    assert sd.N == 0
    assert sd.length == 3000.0

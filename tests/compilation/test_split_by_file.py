from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikelab.spike_sorting.compilation import build_spikedata, split_by_file
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.data import Epoch
from spikelab.spikedata._epochs import combine_templates

Make = Callable[..., Any]
CONFIG = SortingPipelineConfig()


def test_a_single_file_is_the_same_object(make_sort: Make) -> None:
    sd = build_spikedata(*make_sort(), CONFIG)
    assert split_by_file(sd)[0] is sd


def test_cuts_of_one_file_are_not_split(make_sort: Make) -> None:
    epochs = (Epoch(0, 20_000, "a", "a.h5"), Epoch(20_000, 60_000, "a", "a.h5", source_start_frame=90_000))
    sd = build_spikedata(*make_sort(epochs), CONFIG)
    assert split_by_file(sd)[0] is sd
    assert len(split_by_file(sd)) == 1


def test_each_file_has_its_own_clock_and_spikes(make_sort: Make, two_files: Any) -> None:
    first, second = split_by_file(build_spikedata(*make_sort(two_files), CONFIG))
    assert (first.length, second.length) == (2000.0, 1000.0)
    assert first.unit_ids == second.unit_ids == [3, 7, 8, 9]
    np.testing.assert_array_equal(first.train[0], [5.0, 250.0, 750.0, 1250.0])
    np.testing.assert_array_equal(second.train[0], [950.0])
    np.testing.assert_array_equal(second.neuron_attributes[0]["spike_train_samples"], [19_000])
    assert len(first.train[3]) == 0
    np.testing.assert_array_equal(second.train[3], [75.0])


def test_each_file_has_its_own_metadata(make_sort: Make, two_files: Any) -> None:
    first, second = split_by_file(build_spikedata(*make_sort(two_files), CONFIG))
    assert (first.metadata["source_file"], second.metadata["source_file"]) == ("a.h5", "b.h5")
    assert (first.metadata["n_samples"], second.metadata["n_samples"]) == (40_000, 20_000)
    assert first.metadata["rec_chunks_frames"] == [[0, 20_000], [20_000, 40_000]]
    assert first.metadata["rec_chunks_ms"] == [[0.0, 1000.0], [1000.0, 2000.0]]
    assert first.metadata["rec_chunk_names"] == ["a", "a"]
    assert "rec_chunks_ms" not in second.metadata
    assert second.metadata["rec_chunk_sources"][0]["source_index"] == 1
    assert len(first.split_epochs()) == 2


def test_the_templates_of_a_files_epochs_are_weighted_by_spikes(make_sort: Make, two_files: Any) -> None:
    # Unit 3: three spikes in the first epoch (template times 1), one in the second (times 2), one in the third (3).
    first, second = split_by_file(build_spikedata(*make_sort(two_files), CONFIG))
    unit = first.neuron_attributes[0]
    assert unit["template"][40, 0] == pytest.approx(-50 * (3 * 1 + 1 * 2) / 4)
    assert unit["template_full"] is unit["template"]
    assert unit["epoch_templates"].shape == (2, 81, 4)
    own = second.neuron_attributes[0]
    assert own["template"][40, 0] == pytest.approx(-150)
    assert "epoch_templates" not in own
    assert own["amplitude"] == 50.0


def test_a_file_without_a_spike_of_the_unit_has_no_template(make_sort: Make, two_files: Any) -> None:
    first, _ = split_by_file(build_spikedata(*make_sort(two_files), CONFIG))
    assert np.isnan(first.neuron_attributes[3]["template"]).all()


def test_the_compiled_window_stays_the_compiled_window(make_sort: Make, two_files: Any) -> None:
    config = CONFIG.override(compiled_waveforms_ms_before=0.5, compiled_waveforms_ms_after=1.0)
    _, second = split_by_file(build_spikedata(*make_sort(two_files), config))
    unit = second.neuron_attributes[0]
    assert unit["template"].shape == (31, 4)
    assert unit["template_full"].shape == (81, 4)
    assert unit["template"][unit["template_peak_ind"], 0] == pytest.approx(-150)


def test_each_file_knows_its_position(make_sort: Make, two_files: Any) -> None:
    first, second = split_by_file(build_spikedata(*make_sort(two_files, source_files=("a.h5", "b.h5")), CONFIG))
    assert (first.metadata["epoch_index"], second.metadata["epoch_index"]) == (0, 1)
    assert "source_files" not in first.metadata


def test_a_file_of_one_epoch_is_that_epoch(make_sort: Make, two_files: Any) -> None:
    sd = build_spikedata(*make_sort(two_files), CONFIG)
    _, second = split_by_file(sd)
    epoch = sd.split_epochs()[2]
    epoch.metadata["epoch_index"] = 1  # the third epoch, the second file
    assert second == epoch
    unit = second.neuron_attributes[0]
    assert (unit["snr"], unit["std_norm"]) == (22.0, 2.5)
    assert not {"epoch_templates", "epoch_snr", "epoch_std_norm"} & set(unit)


def test_a_file_of_several_epochs_keeps_their_metrics(make_sort: Make, two_files: Any) -> None:
    first, _ = split_by_file(build_spikedata(*make_sort(two_files), CONFIG))
    unit = first.neuron_attributes[0]
    assert (unit["snr"], unit["std_norm"]) == (5.0, 0.25)
    assert unit["epoch_snr"].tolist() == [20, 21]
    assert unit["epoch_std_norm"].tolist() == [0.5, 1.5]


@pytest.mark.parametrize(
    ("kept", "silent"),
    [
        ((Epoch(0, 20_000, "b", "b.h5", 0, 0, 1), Epoch(20_000, 60_000, "c", "c.h5", 0, 0, 2)), 0),
        ((Epoch(0, 20_000, "a", "a.h5", 0, 0, 0), Epoch(20_000, 60_000, "c", "c.h5", 0, 0, 2)), 1),
        ((Epoch(0, 20_000, "a", "a.h5", 0, 0, 0), Epoch(20_000, 60_000, "b", "b.h5", 0, 0, 1)), 2),
    ],
)
def test_a_file_of_which_nothing_was_kept_has_its_place(make_sort: Make, kept: Any, silent: int) -> None:
    files = ("a.h5", "b.h5", "c.h5")
    results = split_by_file(build_spikedata(*make_sort(kept, source_files=files), CONFIG))
    assert [result.metadata["source_file"] for result in results] == list(files)
    assert [result.metadata["epoch_index"] for result in results] == [0, 1, 2]
    empty = results.pop(silent)
    assert [result.length for result in results] == [1000.0, 2000.0]
    assert empty.length == 0
    assert empty.metadata["n_samples"] == 0
    assert empty.unit_ids == results[0].unit_ids
    assert [len(train) for train in empty.train] == [0] * 4
    for unit, other in zip(empty.neuron_attributes, results[0].neuron_attributes, strict=True):
        assert set(unit) == set(other)
        assert len(unit["spike_train_samples"]) == 0
        assert np.isnan(unit["template"]).all()
        assert unit["template"].shape == other["template"].shape
        assert (unit["snr"], unit["std_norm"]) == (0.0, np.inf)
    assert set(empty.metadata) == set(results[0].metadata) - {"epoch_name"}


def test_the_only_file_that_is_left_keeps_its_place(make_sort: Make) -> None:
    recording, waveforms = make_sort((Epoch(0, 60_000, "b", "b.h5", 0, 0, 1),), source_files=("a.h5", "b.h5"))
    whole = build_spikedata(recording, waveforms, CONFIG)
    empty, only = split_by_file(whole)
    assert (empty.length, only.length) == (0, 3000.0)
    assert [result.metadata["source_file"] for result in (empty, only)] == ["a.h5", "b.h5"]
    assert only.train[0].tolist() == whole.train[0].tolist()
    assert only.metadata["epoch_index"] == 1


def test_data_cut_in_time_are_refused(make_sort: Make, two_files: Any) -> None:
    sd = build_spikedata(*make_sort(two_files), CONFIG)
    cut = sd.replace(metadata={**sd.metadata, "rec_chunks_frames": [[0, 20_000], [20_000, 40_000]]})
    with pytest.raises(ValueError, match="describes 3 epochs, but there are 2"):
        split_by_file(cut)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5))
def test_combining_equals_the_mean_of_all_spikes(counts: list[int]) -> None:
    values = np.arange(1, len(counts) + 1, dtype=np.float32)
    templates = np.broadcast_to(values[:, None, None], (len(counts), 3, 2)).copy()
    templates[np.array(counts) == 0] = np.nan
    combined = combine_templates(templates, np.array(counts))
    every_spike = np.repeat(values, counts)
    expected = every_spike.mean() if len(every_spike) else np.nan
    np.testing.assert_allclose(combined, expected, rtol=1e-6)

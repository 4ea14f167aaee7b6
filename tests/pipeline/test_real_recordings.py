"""Real recordings of several devices, from the file to curated units."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from spikeinterface.preprocessing import bandpass_filter

from spikelab.spike_sorting import sort_multistream, sort_recording
from spikelab.spike_sorting._exceptions import HDF5PluginMissingError, InsufficientActivityError, SortBatchError
from spikelab.spike_sorting.recording import inspect_file

pytestmark = pytest.mark.filterwarnings("ignore:the recording is only:UserWarning")
FILES = {
    "maxone_legacy_real_8ch_5s.raw.h5": (1, 8, 20_000.0),
    "maxtwo_6wells_2recs_real_gzip.raw.h5": (12, 16, 10_000.0),
    "maxtwo_6wells_2recs_real_filter401.raw.h5": (12, 16, 10_000.0),
    "biocam_hw3.0_fw1.6.brw": (1, 36, 19_753.77),
}


@pytest.mark.parametrize("name", FILES)
def test_inspect_reads_every_device(shared_data: Path, name: str) -> None:
    streams = inspect_file(shared_data / name)
    n_streams, n_channels, rate = FILES[name]
    assert len(streams) == n_streams
    assert {stream.n_channels for stream in streams} == {n_channels}
    assert streams[0].sampling_frequency == pytest.approx(rate, rel=1e-6)


def test_maxone_amplitudes_are_those_of_the_filtered_traces(shared_data: Path, tmp_path: Path) -> None:
    import h5py
    from spikeinterface.core import NumpyRecording

    path = shared_data / "maxone_legacy_real_8ch_5s.raw.h5"
    (found,) = sort_recording(
        [path],
        sorter="spikeinterface:simple",
        spikes_min_first=10,
        spikes_min_second=10,
        results_folders=[tmp_path / "out"],
        intermediate_folders=[tmp_path / "inter"],
    )
    assert found.N >= 1
    with h5py.File(path) as file:  # read by hand: rows of `sig` are in the order of the mapping in this file
        counts = file["sig"][: len(file["mapping"])].T.astype(np.float32)
        microvolts = counts * np.float32(file["settings/lsb"][0] * 1e6)
    traces = bandpass_filter(NumpyRecording([microvolts], 20_000.0), 300, 6000).get_traces()
    for unit in found.neuron_attributes:
        frames = unit["spike_train_samples"]
        assert len(frames) >= 10
        inside = frames[(frames >= 40) & (frames < len(traces) - 40)]
        expected = np.abs(traces[inside, unit["channel"]].mean())
        assert unit["amplitude"] == pytest.approx(expected, rel=0.01)


def test_two_wells_of_a_plate(shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plate = tmp_path / "plate.raw.h5"
    plate.symlink_to(shared_data / "maxtwo_6wells_2recs_real_gzip.raw.h5")
    wells = ["well000", "well001"]
    settings = {"sorter": "threshold", "rec_name": "rec0000", "kilosort_params": {"detect_threshold": 4.0}}
    settings |= {"snr_min": None, "spikes_min_first": 1, "spikes_min_second": 1, "std_norm_max": None}
    with pytest.raises(SortBatchError) as refused:
        sort_multistream(plate, wells, **settings)  # type: ignore[arg-type]
    assert all("freq_max=4500" in str(error) for _, error in refused.value.failures)
    results = sort_multistream(plate, wells, freq_max=4500, **settings)  # type: ignore[arg-type]
    assert list(results) == wells
    for well in wells:
        (found,) = results[well]
        assert found.N >= 1
        assert found.metadata["fs_Hz"] == 10_000.0
        assert (tmp_path / f"sorted_threshold_plate_{well}_rec0000" / "sorted.npz").exists()


def test_vendor_compression_says_what_to_do(shared_data: Path, tmp_path: Path) -> None:
    path = shared_data / "maxtwo_6wells_2recs_real_filter401.raw.h5"
    with pytest.raises(HDF5PluginMissingError, match=r"(?s)401.*hdf5_plugin_path"):
        sort_recording(
            [path], sorter="threshold", stream_id="well000", rec_name="rec0000", freq_max=4500,
            results_folders=[tmp_path / "out"], intermediate_folders=[tmp_path / "inter"],
        )  # fmt: skip


def test_nearly_silent_recording_gives_a_result_or_says_that_it_is_silent(shared_data: Path, tmp_path: Path) -> None:
    folders = {"results_folders": [tmp_path / "out"], "intermediate_folders": [tmp_path / "inter"]}
    try:
        (found,) = sort_recording([shared_data / "biocam_hw3.0_fw1.6.brw"], sorter="threshold", **folders)
    except InsufficientActivityError:
        return
    assert found.metadata["fs_Hz"] == pytest.approx(19_753.77, abs=0.01)
    assert found.length == pytest.approx(1000, rel=0.01)

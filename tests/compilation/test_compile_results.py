from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import loadmat

from spikelab import SpikeData
from spikelab.spike_sorting.compilation import build_spikedata, compile_results
from spikelab.spike_sorting.config import SortingPipelineConfig
from spikelab.spike_sorting.data import BinaryRecording, Waveforms

Make = Callable[..., Any]
# Negative peaks by descending amplitude (8: 80 uV, 3: 50 uV), then positive ones (9: 95 uV, 7: 90 uV).
ORDER = [8, 3, 9, 7]
BASIC_FIELDS = ["unit_id", "spike_train", "x_max", "y_max", "template", "electrode"]
DL_FIELDS = ["sorted_index", "max_channel_si", "max_channel_id", "peak_sign", "peak_ind", "amplitudes", "std_norms"]


def compiled(sort: Any, folder: Path, waveforms_folder: Path | None = None, **fields: Any) -> list[str]:
    """Compile all units; names of what was written, relative to `folder`."""
    recording, waveforms = sort
    config = SortingPipelineConfig.from_kwargs(**fields)
    sd = build_spikedata(recording, waveforms, config)
    written = compile_results(sd, sd, recording, config, folder, waveforms_folder=waveforms_folder)
    assert all(path.is_file() for path in written)
    assert sorted(written) == sorted(path for path in folder.rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in written]


def units_of(path: Path) -> list[dict[str, Any]]:
    with np.load(path, allow_pickle=True) as data:
        return list(data["units"])


def test_defaults_write_the_curated_units_and_one_npz(make_sort: Make, tmp_path: Path) -> None:
    names = compiled(make_sort(), tmp_path)
    assert names == ["sorted_spikedata_curated.pkl", "sorted_spikedata_curated.npz", "sorted.npz"]


def test_spikedata_comes_back_from_both_files(make_sort: Make, tmp_path: Path) -> None:
    recording, waveforms = make_sort()
    config = SortingPipelineConfig.from_kwargs(save_raw_pkl=True)
    sd_all = build_spikedata(recording, waveforms, config)
    sd_curated = sd_all.subset([1, 2])
    compile_results(sd_curated, sd_all, recording, config, tmp_path)
    for suffix in ("pkl", "npz"):
        assert SpikeData.load(tmp_path / f"sorted_spikedata_curated.{suffix}") == sd_curated
        assert SpikeData.load(tmp_path / f"sorted_spikedata.{suffix}") == sd_all
    assert [unit["unit_id"] for unit in units_of(tmp_path / "sorted.npz")] == [8, 7]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"save_raw_pkl": True}, {"sorted_spikedata.pkl", "sorted_spikedata.npz", "sorted.npz"}),
        ({"compile_to_mat": True}, {"sorted.npz", "sorted.mat"}),
        ({"compile_to_npz": False}, set()),
        ({"compile_single_recording": False, "compile_to_mat": True}, set()),
    ],
)
def test_each_flag_has_its_file(make_sort: Make, tmp_path: Path, fields: dict[str, Any], expected: set[str]) -> None:
    names = set(compiled(make_sort(), tmp_path, **fields))
    assert names - {"sorted_spikedata_curated.pkl", "sorted_spikedata_curated.npz"} == expected


def test_npz_holds_units_locations_and_rate(make_sort: Make, tmp_path: Path) -> None:
    recording, waveforms = make_sort()
    compiled((recording, waveforms), tmp_path)
    with np.load(tmp_path / "sorted.npz", allow_pickle=True) as data:
        assert set(data) == {"units", "locations", "fs"}
        assert data["fs"] == 20_000.0
        np.testing.assert_array_equal(data["locations"], recording.locations)
        units = list(data["units"])
    assert [unit["unit_id"] for unit in units] == ORDER
    assert list(units[0]) == BASIC_FIELDS
    assert units[0]["spike_train"].dtype == np.int64
    np.testing.assert_array_equal(units[0]["spike_train"], [300, 400, 500, 41_000])
    assert (units[3]["x_max"], units[3]["y_max"], units[3]["electrode"]) == (0.0, 17.5, 112)
    np.testing.assert_array_equal(units[0]["template"], waveforms.templates[2])


@pytest.mark.parametrize(("flag", "gone"), [("save_spike_times", "spike_train"), ("save_electrodes", "electrode")])
def test_fields_can_be_left_out(make_sort: Make, tmp_path: Path, flag: str, gone: str) -> None:
    compiled(make_sort(), tmp_path, **{flag: False})
    assert list(units_of(tmp_path / "sorted.npz")[0]) == [field for field in BASIC_FIELDS if field != gone]


def test_no_electrode_numbers_are_minus_one(make_sort: Make, tmp_path: Path) -> None:
    compiled(make_sort(electrodes=False), tmp_path)
    assert [unit["electrode"] for unit in units_of(tmp_path / "sorted.npz")] == [-1] * 4


def test_deep_learning_fields(make_sort: Make, tmp_path: Path) -> None:
    compiled(make_sort(), tmp_path, save_dl_data=True)
    units = units_of(tmp_path / "sorted.npz")
    assert list(units[0]) == BASIC_FIELDS + DL_FIELDS
    assert [unit["sorted_index"] for unit in units] == [0, 1, 2, 3]
    assert [unit["peak_sign"] for unit in units] == [-1, -1, 1, 1]
    assert [unit["max_channel_si"] for unit in units] == [1, 0, 3, 2]
    assert [unit["max_channel_id"] for unit in units] == ["11", "10", "13", "12"]
    assert [unit["peak_ind"] for unit in units] == [40] * 4
    np.testing.assert_array_equal(units[0]["amplitudes"], [0, 80, 10, 0])
    np.testing.assert_array_equal(units[0]["std_norms"], [0.25] * 4)


def test_unscaled_files_hold_counts_and_attributes_stay_microvolts(make_sort: Make, tmp_path: Path) -> None:
    np.save(tmp_path / "waveforms_8.npy", np.full((2, 81, 4), 30, dtype=np.float32))
    for unit in (3, 7, 9):
        np.save(tmp_path / f"waveforms_{unit}.npy", np.zeros((1, 81, 4), dtype=np.float32))
    fields = {"scale_compiled_waveforms": False, "save_dl_data": True, "compile_waveforms": True}
    compiled(make_sort(), tmp_path / "out", tmp_path, **fields)
    unit = units_of(tmp_path / "out" / "sorted.npz")[0]
    assert unit["template"][40, 1] == -160  # -80 uV at 0.5 uV per count
    assert unit["amplitudes"][1] == 160
    assert np.load(tmp_path / "out" / "negative_peaks" / "waveforms_0.npy")[0, 0, 0] == 60
    curated = SpikeData.load(tmp_path / "out" / "sorted_spikedata_curated.npz")
    assert curated.neuron_attributes[2]["template"][40, 1] == -80


def test_mat_is_a_struct_array(make_sort: Make, tmp_path: Path) -> None:
    recording, waveforms = make_sort()
    compiled((recording, waveforms), tmp_path, compile_to_mat=True, save_dl_data=True)
    data = loadmat(tmp_path / "sorted.mat")
    assert data["units"].dtype.names == tuple(BASIC_FIELDS + DL_FIELDS)
    assert data["fs"].item() == 20_000.0
    np.testing.assert_array_equal(data["locations"], recording.locations)
    units = data["units"].ravel()
    assert [unit["unit_id"].item() for unit in units] == ORDER
    assert units[0]["spike_train"].dtype == np.int64
    np.testing.assert_array_equal(units[0]["spike_train"].ravel(), [300, 400, 500, 41_000])
    np.testing.assert_array_equal(units[0]["template"], waveforms.templates[2])
    assert units[0]["max_channel_id"].item() == "11"


def test_waveform_files_are_sorted_by_polarity(make_sort: Make, tmp_path: Path) -> None:
    source = tmp_path / "waveforms"
    source.mkdir()
    for unit in ORDER:
        np.save(source / f"waveforms_{unit}.npy", np.full((2, 81, 4), unit, dtype=np.float32))
    names = compiled(make_sort(), tmp_path / "out", source, compile_waveforms=True)
    assert names[3:] == [
        "negative_peaks/waveforms_0.npy",
        "negative_peaks/waveforms_1.npy",
        "positive_peaks/waveforms_2.npy",
        "positive_peaks/waveforms_3.npy",
    ]
    assert [np.load(tmp_path / "out" / name)[0, 0, 0] for name in names[3:]] == ORDER


def test_compiled_waveforms_have_the_compiled_window(make_sort: Make, tmp_path: Path) -> None:
    source = tmp_path / "waveforms"
    source.mkdir()
    samples = np.arange(81, dtype=np.float32)[None, :, None]
    for unit in ORDER:
        np.save(source / f"waveforms_{unit}.npy", np.broadcast_to(samples, (2, 81, 4)))
    window = {"compiled_waveforms_ms_before": 0.5, "compiled_waveforms_ms_after": 1.0}
    compiled(make_sort(), tmp_path / "out", source, compile_waveforms=True, **window)
    waveforms = np.load(tmp_path / "out" / "negative_peaks" / "waveforms_0.npy")
    assert waveforms.shape == (2, 31, 4)
    assert waveforms[0, :, 0].tolist() == list(range(30, 61))  # 10 samples before the peak at 40, 20 after it
    assert units_of(tmp_path / "out" / "sorted.npz")[0]["template"].shape == (31, 4)


def test_compiling_waveforms_needs_them(make_sort: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="save_waveform_files"):
        compiled(make_sort(), tmp_path, compile_waveforms=True)


def test_epochs_have_folders_with_their_own_spikes_and_templates(
    make_sort: Make, two_files: Any, tmp_path: Path
) -> None:
    names = compiled(make_sort(two_files), tmp_path, compile_to_mat=True)
    assert {f"chunk{i}/sorted.{suffix}" for i in range(3) for suffix in ("npz", "mat")} < set(names)
    assert "chunk3/sorted.npz" not in names
    whole, last = units_of(tmp_path / "sorted.npz"), units_of(tmp_path / "chunk2" / "sorted.npz")
    assert [unit["unit_id"] for unit in whole] == [unit["unit_id"] for unit in last] == ORDER
    assert [unit["spike_train"].tolist() for unit in last] == [[1_000], [19_000], [1_500], [5_000]]
    assert last[0]["template"][40, 1] == -240  # three times the template, see the fixture
    middle = units_of(tmp_path / "chunk1" / "sorted.npz")
    assert len(middle[0]["spike_train"]) == 0
    assert np.isnan(middle[0]["template"]).all()


def test_zero_units_write_empty_lists(make_sort: Make, tmp_path: Path) -> None:
    compiled(make_sort(n_units=0), tmp_path, compile_to_mat=True)
    assert units_of(tmp_path / "sorted.npz") == []
    assert loadmat(tmp_path / "sorted.mat")["units"].size == 0
    assert SpikeData.load(tmp_path / "sorted_spikedata_curated.npz").N == 0


def test_equal_input_gives_equal_bytes_fresh_or_reloaded(make_sort: Make, two_files: Any, tmp_path: Path) -> None:
    recording, waveforms = make_sort(two_files)
    fields = {"save_raw_pkl": True, "save_dl_data": True}
    names = compiled((recording, waveforms), tmp_path / "fresh", **fields)
    waveforms.save(tmp_path)
    reloaded = BinaryRecording.from_dict(Path("elsewhere.dat"), recording.to_dict())
    compiled((reloaded, Waveforms.load(tmp_path)), tmp_path / "resumed", **fields)
    differing = [n for n in names if (tmp_path / "fresh" / n).read_bytes() != (tmp_path / "resumed" / n).read_bytes()]
    assert differing == []


def test_a_failed_write_leaves_the_old_file_and_no_litter(
    make_sort: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled(make_sort(), tmp_path)
    before = (tmp_path / "sorted.npz").read_bytes()

    def full_disk(path: Path, **_: Any) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full_disk)
    with pytest.raises(OSError, match="No space left"):
        compiled(make_sort(n_units=2), tmp_path)
    assert (tmp_path / "sorted.npz").read_bytes() == before
    assert not list(tmp_path.glob(".*"))

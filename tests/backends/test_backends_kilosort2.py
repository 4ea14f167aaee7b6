"""Kilosort 2 up to MATLAB's door: a stand-in for ``matlab`` prints what Kilosort 2 prints, and fails or succeeds."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from spikelab.spike_sorting import _exceptions as errors
from spikelab.spike_sorting.backends.isolation.error import SorterProcessError
from spikelab.spike_sorting.backends.kilosort2 import Kilosort2Backend
from spikelab.spike_sorting.backends.spikeinterface_generic import require_harmless_folder

if TYPE_CHECKING:
    from pathlib import Path

    from spikelab.spike_sorting.data import BinaryRecording

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")

SILENT = """echo 'found 12 threshold crossings in 12.00 seconds of data '
echo 'found 3 bad channels '
echo '1 / 4 batches, 2 units, nspks: 1.5000, mu: 10.0'
printf -- '----------------------------------------An unexpected error occurred trying to launch a kernel. '
echo 'The CUDA error was:'
echo 'invalid configuration argument'
exit 1
"""
CRASH = "echo 'Segmentation violation detected'\nkill -SEGV $$\n"
WORKS = f"exec {sys.executable} results.py\n"
# What rezToPhy leaves behind: two units.
RESULTS = """
import numpy as np
np.save("spike_times.npy", np.array([[100], [300], [200]], dtype=np.uint64))
np.save("channel_map.npy", np.arange(16))
np.save("channel_positions.npy", np.zeros((16, 2)))
np.save("spike_clusters.npy", np.array([[0], [1], [1]], dtype=np.uint32))
with open("cluster_KSLabel.tsv", "w") as file:
    file.write("cluster_id\\tKSLabel\\n0\\tgood\\n1\\tmua\\n")
with open("params.py", "w") as file:
    file.write("dat_path = 'x.dat'\\nn_channels_dat = 16\\ndtype = 'int16'\\noffset = 0\\n"
               "sample_rate = 20000.\\nhp_filtered = False\\n")
"""


@pytest.fixture
def with_matlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_config):
    """A backend whose ``matlab`` is a shell script."""

    def build(script: str) -> Kilosort2Backend:
        tools, source = tmp_path / "bin", tmp_path / "Kilosort2"
        tools.mkdir()
        source.mkdir()
        (source / "master_kilosort.m").touch()
        (tools / "matlab").write_text("#!/bin/sh\n" + script, encoding="utf-8")
        (tools / "matlab").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
        return Kilosort2Backend(make_config("kilosort2", sorter_path=str(source)))

    return build


def test_failure_is_read_from_kilosorts_own_log(with_matlab, small_recording: BinaryRecording, tmp_path: Path) -> None:
    backend = with_matlab(SILENT)
    output = tmp_path / "out"
    output.mkdir()
    with pytest.raises(SorterProcessError, match="non-zero exit code") as caught:
        backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", output)
    error = backend.classify(output, caught.value)
    assert isinstance(error, errors.InsufficientActivityError)
    assert (error.threshold_crossings, error.units_at_failure, error.nspks_at_failure) == (12, 2, 1.5)
    assert error.log_path is not None
    assert str(error.log_path).endswith("kilosort2.log")


def test_unknown_failure_stays_unknown(with_matlab, small_recording: BinaryRecording, tmp_path: Path) -> None:
    backend = with_matlab(CRASH)
    with pytest.raises(SorterProcessError) as caught:
        backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path / "out")
    assert backend.classify(tmp_path / "out", caught.value) is None


def test_result_is_read(with_matlab, small_recording: BinaryRecording, tmp_path: Path) -> None:
    backend = with_matlab(f"cat > results.py <<'END'\n{RESULTS}\nEND\n{WORKS}")
    sorting = backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path / "out")
    assert sorting.unit_ids.tolist() == [0, 1]
    np.testing.assert_array_equal(sorting.get_unit_spike_train(1), [200, 300])


@pytest.mark.parametrize("name", ["x$(touch RUN)", "x`touch RUN`", "it's", 'x"; touch RUN; "'])
def test_a_folder_that_its_shell_script_would_run_is_refused(
    with_matlab, small_recording: BinaryRecording, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    backend = with_matlab("touch STARTED\nexit 1\n")
    with pytest.raises(ValueError, match="intermediate_folders"):
        backend.sort(small_recording.to_spikeinterface(), None, tmp_path / "x.dat", tmp_path / name)
    assert not list(tmp_path.rglob("RUN"))
    assert not list(tmp_path.rglob("STARTED"))


def test_a_sorter_without_shell_scripts_takes_any_folder(tmp_path: Path) -> None:
    require_harmless_folder("simple", tmp_path / "x$(touch RUN)")
    require_harmless_folder("kilosort2", tmp_path / "day 1; (wild-type) & more")
    with pytest.raises(ValueError, match="waveclus is started by a shell script"):
        require_harmless_folder("waveclus", tmp_path / "x$(touch RUN)")

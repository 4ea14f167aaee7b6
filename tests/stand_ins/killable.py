"""A sorter to be killed while it works, and a way to find all that it and its parents have started.

It thresholds in a supervised child, which starts a helper in a session of its own, writes a temporary file and takes
its time.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

MARK = "SPIKELAB_KILL_TEST"  # a variable in the environment of everything that a test starts

SORTER = '''
from pathlib import Path
from spikelab.spike_sorting.data import SpikeTrains
from spikelab.spike_sorting.backends.isolation import start
from spikelab.spike_sorting.backends.threshold import ThresholdBackend

class SupervisedBackend(ThresholdBackend):
    """A threshold, in a process of its own."""

    sorter_label = "supervised"

    def sort(self, recording, rec_path, recording_dat_path, output_folder):
        binary = self.ensure_binary(recording, recording_dat_path)
        folder = start.run_folder(output_folder)
        job = {"sorter": "supervised", "target": "supervised_target:run", "recording_path": str(binary.path),
               "recording": binary.to_dict()}
        start.run_in_child(job, folder, Path(output_folder) / "sorter.log", 600.0)
        return SpikeTrains.load(folder / start.RESULT_FILE).to_spikeinterface(binary.sampling_frequency)
'''
# In the child: nothing heavy is imported. A silent recording gives no spikes.
TARGET = """
import subprocess, tempfile, time
from pathlib import Path
import numpy as np
from spikelab.spike_sorting.data import BinaryRecording, SpikeTrains

def run(job, folder):
    helper = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path(tempfile.mkstemp()[1]).write_bytes(bytes(10**6))
    binary = BinaryRecording.from_dict(Path(job["recording_path"]), job["recording"])
    below = binary.counts * binary.gain_uv < -50
    time.sleep(0.7)
    helper.kill()
    helper.wait()
    trains = {c: np.flatnonzero(np.diff(below[:, c].astype(int)) == 1) for c in range(5)}
    return SpikeTrains.from_dict({c: train for c, train in trains.items() if len(train)})
"""


class Killable:
    """Files of the sorter ``supervised:SupervisedBackend`` in `folder`, and an environment in which it can be run.

    Attributes
    ----------
    environment : dict of str to str
        Variables for what a test starts; everything that this starts has them too, so that :meth:`processes` finds it.
    temporary : Path
        Where temporary files go.
    """

    def __init__(self, folder: Path) -> None:
        self.mark = f"{folder} {os.getpid()}"
        self.temporary = folder / "t"
        self.temporary.mkdir()
        (folder / "supervised.py").write_text(SORTER, encoding="utf-8")
        (folder / "supervised_target.py").write_text(TARGET, encoding="utf-8")
        path = os.pathsep.join(filter(None, (str(folder), os.environ.get("PYTHONPATH"))))
        self.environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(self.temporary), MARK: self.mark}

    def processes(self) -> list[psutil.Process]:
        """Every process that was started in this environment and is still there."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get(MARK) == self.mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

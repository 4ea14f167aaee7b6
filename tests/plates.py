"""A list of 96 recordings with ten different faults, for tests and for measuring how long telling them takes."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np

from spikelab.spike_sorting.recording import write_maxwell
from spikelab.spike_sorting.recording.maxwell_writer import add_well

FS = 10_000.0
# A fault of each kind: what stands in the list beside the file, and words of the message.
FAULTS = {
    "day90.raw.h5": ('config = "snr_mim=3"', "Unknown parameter 'snr_mim' (did you mean 'snr_min'"),
    "day91.raw.h5": ('config = "isi_viol_max=x"', "'isi_viol_max' must be a number"),
    "day92.raw.h5": ('sorter = "RT_Sort"', "Unknown sorter 'RT_Sort'"),
    "day93.raw.h5": ('stream = "well007"', "has no stream 'well007'. It has ['well000']"),
    "day94.raw.h5": (
        'config = "freq_max=6000"',
        "freq_max is 6000 Hz; expected below half the sampling rate, 5000 Hz: in config freq_max = 4500",
    ),
    "day95.raw.h5": ('config = "bad_channels=[77]"', "bad_channels names 77; expected channels such as 0, 1"),
    "missing.raw.h5": ("", "there is no file or folder"),
    "two.raw.h5": ("", "two.raw.h5 has several recordings of one well; expected one of rec0000, rec0001"),
    "damaged.raw.h5": ("", "damaged.raw.h5 is truncated"),
    "plain.dat": ("", "plain.dat is a binary file without a header: in config probe_path = ..., sampling_frequency"),
}
N_ENTRIES = 96


def write_list(folder: Path, sorter: str = "threshold") -> Path:
    """Write the recordings, each a file of its own, and the list of them; return the list."""
    counts = np.random.default_rng(0).integers(500, 524, (4, 2_000)).astype(np.uint16)
    first = folder / "day0.raw.h5"
    places = np.column_stack([np.arange(4) * 17.5, np.zeros(4)])
    write_maxwell(first, counts, FS, places)
    good = [first.name, *(f"day{number}.raw.h5" for number in range(1, N_ENTRIES - len(FAULTS)))]
    for name in (*good[1:], *FAULTS):
        if name.startswith("day") or name == "two.raw.h5":
            shutil.copyfile(first, folder / name)
    with h5py.File(folder / "two.raw.h5", "r+") as file:
        add_well(file, counts, FS, places, rec_name="rec0001")
    (folder / "damaged.raw.h5").write_bytes(first.read_bytes()[:3_000])
    (folder / "plain.dat").write_bytes(bytes(1_000))
    entries = [f'[[recording]]\nfile = "{name}"\n' for name in good]
    entries += [f'[[recording]]\nfile = "{name}"\n{_as_toml(more)}\n' for name, (more, _) in FAULTS.items()]
    path = folder / "list.toml"
    path.write_text(f'[defaults]\nresults = "results"\nsorter = "{sorter}"\n\n' + "\n".join(entries))
    return path


def _as_toml(more: str) -> str:
    """Write ``config = "name=value"`` as a table."""
    key, _, text = more.partition(" = ")
    if key != "config":
        return more
    name, _, value = text.strip('"').partition("=")
    return f"config = {{ {name} = {value if value[0] in '[0123456789' else repr(value)} }}"

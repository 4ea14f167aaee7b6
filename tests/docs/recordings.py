"""The recordings that the pages of the documentation speak about, small: four neurons on 16 electrodes, 10 s."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

import h5py
import numpy as np
from docs._generate.troubles import GRID, drifting, stimulated
from tests.simulated import DENSE_PITCH_UM, FS, Simulated, save_recording, simulate_dense

from spikelab.spike_sorting.recording.maxwell_writer import add_well, write_header, write_maxwell

LSB_UV = 1.0


@cache
def simulated(seed: int) -> Simulated:
    return simulate_dense(duration_s=10.0, rate_hz=12.0, seed=seed)


def counts(seed: int) -> np.ndarray:
    traces = simulated(seed).recording.get_traces()
    return np.clip(np.rint(traces / LSB_UV) + 512, 0, 1023).astype(np.uint16).T


def locations() -> np.ndarray:
    y, x = np.mgrid[:4, :4]
    return np.column_stack([x.ravel(), y.ravel()]) * DENSE_PITCH_UM


def write_one(path: Path, seed: int = 0) -> None:
    write_maxwell(path, counts(seed), FS, locations(), lsb_uv=LSB_UV)


def write_plate(path: Path) -> None:
    with h5py.File(path, "w") as file:
        write_header(file)
        for seed, well in enumerate(("well000", "well001")):
            add_well(file, counts(seed), FS, locations(), LSB_UV, well=well)


def write_days(folder: Path) -> None:
    folder.mkdir()
    for seed in range(2):
        write_one(folder / f"day{seed + 1}.raw.h5", seed)


def write_binary(path: Path) -> None:
    """Headerless, with the probe file that says where its electrodes are beside it."""
    from probeinterface import write_probeinterface

    recording = simulated(0).recording
    np.rint(recording.get_traces() / 0.195).astype("<i2").tofile(path)
    write_probeinterface(path.with_name("probe.json"), recording.get_probe())


def write_nwb(path: Path) -> None:
    from datetime import UTC, datetime

    from pynwb import NWBHDF5IO, NWBFile
    from pynwb.ecephys import ElectricalSeries

    file = NWBFile("simulated", "docs", datetime(2026, 1, 1, tzinfo=UTC))
    device = file.create_device("probe")
    group = file.create_electrode_group("group", description="all", location="culture", device=device)
    file.add_electrode_column("rel_x", "um")
    file.add_electrode_column("rel_y", "um")
    for x, y in locations():
        file.add_electrode(rel_x=x, rel_y=y, location="culture", group=group)
    region = file.create_electrode_table_region(region=list(range(16)), description="all")
    traces = simulated(0).recording.get_traces() * 1e-6
    file.add_acquisition(ElectricalSeries(name="traces", data=traces.astype(np.float32), electrodes=region, rate=FS))
    with NWBHDF5IO(str(path), "w") as io:
        io.write(file)


def write_probe(folder: Path) -> None:
    """A column of electrodes along which tissue moves."""
    save_recording(drifting(10.0), folder)


def write_stimulated(path: Path) -> None:
    """A culture with pulses that saturate its amplifiers, and their times beside it."""
    recording, pulses = stimulated(8.0)
    np.savetxt(path.with_name("pulses.csv"), pulses)
    write_maxwell(path, np.rint(recording.get_traces() + 8_000).astype(np.uint16).T, FS, GRID, lsb_uv=1.0)


RECORDINGS: dict[str, Callable[[Path], None]] = {
    "culture.raw.h5": write_one,
    "quiet.raw.h5": write_one,
    "day1.raw.h5": write_one,
    "day2.raw.h5": lambda path: write_one(path, seed=1),
    "plate.raw.h5": write_plate,
    "days": write_days,
    "traces.dat": write_binary,
    "probe.nwb": write_nwb,
    "probe/": write_probe,
    "stimulated.raw.h5": write_stimulated,
}
"""What each is called in the pages, and what writes it."""


RESULTS = "sorted_rt_sort_culture"
"""Results of `culture.raw.h5`, for pages that begin where a sort has ended."""


def make_those_named(text: str, folder: Path) -> None:
    """Write those recordings, and results, whose names are in `text`."""
    for name, write in RECORDINGS.items():
        if name in text and not (folder / name).exists():
            write(folder / name)
    if RESULTS in text and "culture.raw.h5" not in text and not (folder / RESULTS).exists():
        from spikelab.spike_sorting import sort_recording

        write_one(folder / "culture.raw.h5")
        sort_recording([folder / "culture.raw.h5"], sorter="rt_sort", rt_sort_device="cpu")

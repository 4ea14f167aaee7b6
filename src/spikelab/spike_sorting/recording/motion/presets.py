"""Courses by SpikeInterface's presets of motion estimation, with its own detection and localization of spikes."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np

from spikelab.spike_sorting.data import dead_time_of, epochs_of
from spikelab.spike_sorting.recording.motion.course import AXES, Course
from spikelab.spike_sorting.recording.motion.peaks import Peaks, Source, noise_of
from spikelab.spike_sorting.recording.motion.registration import enough_spikes
from spikelab.system.runlog import captured_warnings

if TYPE_CHECKING:
    from spikeinterface import BaseRecording

    from spikelab.spike_sorting.recording.motion.columns import Column

# A preset of SpikeInterface 0.105 names a mode that its own estimate does not know.
REPAIRED: dict[str, dict[str, Any]] = {"dredge": {"batching_mode": "full"}}
# What SpikeInterface imports only once all spikes are found.
PACKAGES = {"dredge": ("torch",), "dredge_fast": ("torch",), "medicine": ("medicine", "torch")}
WINDOWED = ("dredge_ap", "decentralized", "iterative_template")
WINDOWS = {"win_step_um": 200.0, "win_scale_um": 300.0}  # SpikeInterface's defaults
NOISE_KEY = "noise_level_mad_raw"
NOISE_SLICES = {"num_chunks_per_segment": 20, "chunk_size": 10_000, "seed": 0}


def require_packages(preset: str) -> None:
    """Refuse a preset whose packages are not installed; ModuleNotFoundError with the command that installs them."""
    missing = [name for name in PACKAGES.get(preset, ()) if find_spec(name) is None]
    if missing:
        raise ModuleNotFoundError(
            f"motion={preset!r} needs what is not installed: pip install {' '.join(missing)}; motion='correct' does not"
        )


def preset_course(recording: BaseRecording, column: Column, preset: str) -> tuple[Peaks, Course | None]:
    """Estimate the course along a column, on a recording in microvolts with one segment; None for too few spikes.

    The noise is measured on blocks that a seed picks, and not on random ones, so that a second call finds the same.
    """
    from spikeinterface.core import get_noise_levels
    from spikeinterface.preprocessing import compute_motion

    own = recording.select_channels(recording.channel_ids[column.channels])
    quiet: dict[str, Any] = {"n_jobs": 1, "progress_bar": False}
    if len(dead_time_of(recording)):  # of which SpikeInterface knows nothing
        own.set_property(NOISE_KEY, noise_of(Source.of_recording(recording), column.channels))
    get_noise_levels(own, return_in_uV=False, random_slices_kwargs=NOISE_SLICES, **quiet)  # kept as a property
    assert own.get_property(NOISE_KEY) is not None
    estimate = {"direction": AXES[column.axis], **REPAIRED.get(preset, {}), **_rigid(preset, column)}
    with captured_warnings() as warned:  # an error, which is one where there are spikes
        motion, info = compute_motion(
            own, preset, estimate_motion_kwargs=estimate, output_motion_info=True, raise_error=False, **quiet
        )
    found, places = info["peaks"], info["peak_locations"]
    peaks = Peaks(
        found["sample_index"].astype(np.int64),
        places[AXES[column.axis]].astype(np.float64),
        np.abs(found["amplitude"]).astype(np.float64),
    )
    if not enough_spikes(peaks, epochs_of(recording), float(own.get_sampling_frequency()), column.places[:, 0]):
        return peaks, None
    if motion is None:
        raise RuntimeError("; ".join(str(warning.message) for warning in warned))
    return peaks, _centred(Course.from_motion(motion), info["parameters"]["estimate_motion_kwargs"])


def _rigid(preset: str, column: Column) -> dict[str, bool]:
    """Ask for one course of the whole column where it is too short for several: SpikeInterface warns, and does so."""
    from spikeinterface.preprocessing.motion import motion_options_preset

    settings = WINDOWS | motion_options_preset[preset]["estimate_motion_kwargs"]
    if settings["method"] not in WINDOWED:
        return {}
    length = float(np.ptp(column.places[:, 0]))
    return {"rigid": True} if length - settings["win_scale_um"] < settings["win_step_um"] else {}


def _centred(course: Course, settings: dict[str, Any]) -> Course:
    """Give the way from the median place, at the middle of bins, of which SpikeInterface 0.105 has the start in one."""
    late = 0.0
    if settings["method"] == "iterative_template":
        bin_s = float(settings.get("bin_s", 2.0))
        late = bin_s / 2 - bin_s // 2
    moved = course.moved_um - np.median(course.moved_um, axis=0)
    return Course(course.axis, course.times_s + late, course.depths_um, moved)

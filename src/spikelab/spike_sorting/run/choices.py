"""Choose what nobody gave: sorter, preset, spatial filter, band-pass, device, log. Python's own defaults stay.

The command line says what it chose, and the record of the run keeps it. A row of `CHOICES` chooses one setting of one
recording; what somebody gave is never touched.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from spikelab.spike_sorting.backends.rt_sort_preset import IN_COLUMNS, fitting_preset
from spikelab.spike_sorting.recording.geometry.columns import by_shank, is_column, nearest_um
from spikelab.spike_sorting.recording.motion.columns import ESTIMATE, columns_of
from spikelab.spike_sorting.recording.source import safe_name
from spikelab.spike_sorting.run.wanted import Choice, Wanted
from spikelab.spike_sorting.settings.presets import NEUROPIXELS_RT_SORT

if TYPE_CHECKING:
    from collections.abc import Callable

    from spikelab.spike_sorting.recording import StreamInfo

SHARE_OF_RATE = 0.45  # upper edge of a band-pass, just below half the sampling rate
NEAR_UM = 50.0  # from one electrode to the next, up to which movement can be seen
LOWEST_RATE_HZ = 5_000.0  # spikes of a millisecond have nothing left at lower rates


def choose_sorter(wanted: Wanted) -> Wanted:
    """Choose the best sorter that can run here, unless somebody gave one."""
    if wanted.gave("sorter_name"):
        return wanted
    if wanted.gave("kilosort_path"):
        return wanted.choose(Choice("sorter_name", "kilosort2", "sorter kilosort2 (kilosort_path is set)"))
    if any(name.startswith("rt_sort_") for name in wanted.given):
        return wanted.choose(Choice("sorter_name", "rt_sort", "sorter rt_sort (settings of it are set)"))
    name, why = best_sorter()
    return wanted.choose(Choice("sorter_name", name, f"sorter {name} ({why})"))


@cache
def best_sorter() -> tuple[str, str]:
    """Name the best sorter that can run on this machine, and say why it is that one."""
    from spikelab.spike_sorting.backends.kilosort4 import parameter_names
    from spikelab.system.gpus import gpus

    seen = gpus()
    if not seen.found:
        return "rt_sort", "it needs no GPU, and here is none"
    if not parameter_names():
        return "rt_sort", "there is a GPU, but Kilosort 4 is not installed"
    if (why_not := why_no_gpu()) != "":
        return "rt_sort", f"Kilosort 4 would run without the GPU: {why_not}"
    return "kilosort4", f"its package and a GPU are here: {seen.found[0].name}"


@cache
def why_no_gpu() -> str:
    """Say why PyTorch can use no GPU here; "" where it can."""
    from spikelab.spike_sorting.backends.rt_sort import usable_device

    return usable_device("cuda")[1]


def choose_for(wanted: Wanted, info: StreamInfo) -> Wanted:
    """Choose, for one recording, every setting that nobody gave."""
    for choose in CHOICES:
        wanted = choose(wanted, info)
    return wanted


def _preset_of_rt_sort(wanted: Wanted, info: StreamInfo) -> Wanted:
    """Choose detection model and thresholds by how the electrodes lie."""
    rate = info.sampling_frequency
    of_rt_sort = wanted.config.sorter.sorter_name == "rt_sort"
    if rate is None or not of_rt_sort or wanted.gave("rt_sort_probe", "rt_sort_model_path"):
        return wanted
    preset, text = fitting_preset(info.geometry, rate)
    params = {**(preset.params or {}), **(wanted.config.rt_sort.params or {})} or None
    return wanted.choose(Choice("rt_sort_probe", preset.probe, text), rt_sort_params=params)


def _stripes(wanted: Wanted, info: StreamInfo) -> Wanted:
    """Remove the stripes of Neuropixels, which the times of sampling tell, before RT-Sort; Kilosort does it itself."""
    recording = NEUROPIXELS_RT_SORT.recording
    theirs = ("spatial_filter", "common_reference", "reference_by")
    if wanted.config.sorter.sorter_name != "rt_sort" or wanted.gave(*theirs) or not info.in_turn:
        return wanted
    if info.geometry is None or not is_column(by_shank(info.geometry)):
        return wanted
    text = f"spatial_filter {recording.spatial_filter} ({IN_COLUMNS}, sampled one after the other: Neuropixels)"
    return wanted.choose(Choice("spatial_filter", recording.spatial_filter, text))


def _movement(wanted: Wanted, info: StreamInfo) -> Wanted:
    """Measure how far tissue moves along a probe whose electrodes are so near each other that several see a spike."""
    geometry = info.geometry
    if wanted.gave("motion") or geometry is None or not is_column(geometry) or nearest_um(geometry) > NEAR_UM:
        return wanted
    try:
        columns_of(geometry, ESTIMATE)
    except ValueError:  # shorter, or wider
        return wanted
    return wanted.choose(Choice("motion", ESTIMATE, f"movement measured ({IN_COLUMNS})"))


def _band(wanted: Wanted, info: StreamInfo) -> Wanted:
    """Lower the upper edge of the band-pass where it is not below half the sampling rate."""
    rate = info.sampling_frequency
    if wanted.gave("freq_max") or rate is None or rate < LOWEST_RATE_HZ or wanted.config.recording.freq_max < rate / 2:
        return wanted
    highest, usual = highest_edge(rate), wanted.config.recording.freq_max
    why = f"the usual {usual:g} Hz is not below half the sampling rate, {rate / 1000:g} kHz"
    text = f"band-pass {wanted.config.recording.freq_min:g} to {highest:g} Hz ({why})"
    return wanted.choose(Choice("freq_max", highest, text))


def highest_edge(rate_hz: float) -> int:
    """Return the highest upper edge of a band-pass, in Hz, at a sampling rate in Hz."""
    return int(SHARE_OF_RATE * rate_hz)


def _device(wanted: Wanted, info: StreamInfo) -> Wanted:  # noqa: ARG001 - the same for every recording
    """Ask for the CPU where RT-Sort would use it anyway, with a warning."""
    if wanted.config.sorter.sorter_name != "rt_sort" or wanted.gave("rt_sort_device") or not why_no_gpu():
        return wanted
    return wanted.choose(Choice("rt_sort_device", "cpu", f"on the CPU ({why_no_gpu()})"))


def _log(wanted: Wanted, info: StreamInfo) -> Wanted:  # noqa: ARG001 - the same for every recording
    """Name the log after the sorter."""
    name = wanted.config.sorter.sorter_name
    if wanted.gave("out_file") or name == "kilosort2":
        return wanted
    return wanted.choose(Choice("out_file", f"sort_with_{safe_name(name)}.out", "log named after the sorter"))


NOT_SAID = ("rt_sort_device", "out_file")  # in the first lines of a command; the record has them
CHOICES: tuple[Callable[[Wanted, StreamInfo], Wanted], ...] = (
    _preset_of_rt_sort, _stripes, _band, _movement, _device, _log,
)  # fmt: skip

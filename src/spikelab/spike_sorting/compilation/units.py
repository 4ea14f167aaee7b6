"""Units as ``sorted.npz`` and ``sorted.mat`` list them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from spikelab.spike_sorting.settings.schema import CompilationConfig
    from spikelab.spikedata import SpikeData

UNKNOWN_ELECTRODE = -1


def sorted_order(sd: SpikeData) -> list[int]:
    """Sort the units as the compiled files list them, and return their positions.

    Units with a negative peak come first, then those with a positive one, each by descending amplitude (ties by unit
    id).
    """
    units = sd.neuron_attributes or []
    return sorted(
        range(len(units)),
        key=lambda i: (units[i]["has_pos_peak"], -units[i]["amplitude"], units[i]["unit_id"]),
    )


def compiled_units(
    sd: SpikeData, config: CompilationConfig, *, scale: float | NDArray[np.float64] = 1.0
) -> list[dict[str, Any]]:
    """Describe each unit as the compiled files do.

    Parameters
    ----------
    sd : SpikeData
        Units in the order in which they are to be listed (see :func:`sorted_order`).
    config : CompilationConfig
        ``save_spike_times``, ``save_electrodes`` and ``save_dl_data`` choose the fields.
    scale : float or numpy.ndarray, shape (channels,)
        Voltages (template, amplitudes) are multiplied by it.

    Returns
    -------
    list of dict
        unit_id, spike_train (int64 frames), x_max, y_max (um, main channel), template (samples, channels), electrode
        (-1 where the format has no electrode numbers); with ``save_dl_data`` also sorted_index (position in the list,
        over both signs), max_channel_si (index), max_channel_id, peak_sign (-1 or 1), peak_ind (sample of the peak in
        `template`), amplitudes and std_norms (per channel). Every array is a fresh copy, so that two files made from
        equal input are equal byte by byte.
    """
    return [_unit(unit, index, config, scale) for index, unit in enumerate(sd.neuron_attributes or [])]


def _unit(
    unit: dict[str, Any], index: int, config: CompilationConfig, scale: float | NDArray[np.float64]
) -> dict[str, Any]:
    compiled: dict[str, Any] = {"unit_id": int(unit["unit_id"])}
    if config.save_spike_times:
        compiled["spike_train"] = np.array(unit["spike_train_samples"], dtype=np.int64)
    compiled["x_max"] = float(unit["x"])
    compiled["y_max"] = float(unit["y"])
    compiled["template"] = _scaled(unit["template"], scale)
    if config.save_electrodes:
        electrode = unit["electrode"]
        compiled["electrode"] = UNKNOWN_ELECTRODE if electrode is None else int(electrode)
    if config.save_dl_data:
        compiled["sorted_index"] = index
        compiled["max_channel_si"] = int(unit["channel"])
        compiled["max_channel_id"] = str(unit["channel_id"])
        compiled["peak_sign"] = 1 if unit["has_pos_peak"] else -1
        compiled["peak_ind"] = int(unit["template_peak_ind"])
        compiled["amplitudes"] = _scaled(unit["amplitudes"], scale)
        compiled["std_norms"] = np.array(unit["std_norms_all"], dtype=np.float32)
    return compiled


def _scaled(values: NDArray[np.float32], scale: float | NDArray[np.float64]) -> NDArray[np.float32]:
    return np.array(values, dtype=np.float32) * np.asarray(scale, dtype=np.float32)

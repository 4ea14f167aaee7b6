"""Templates, noise and quality of every unit, gathered in time order from the recording.

::

    look      a template of at most 100 spikes -> polarity and main channel     engine.py
    centre    every spike -> its peak on the main channel                        centring.py
    average   up to ``max_waveforms_per_unit`` centred spikes -> template, std   templates.py
    measure   noise, amplitude, SNR, std_norm                                    noise.py, metrics.py

Spikes are centred and averaged at one visit: with the look before it, the recording is walked through twice, and once
more for every further block of units whose running sums do not fit into memory.

The inner loops are in ``_kernels.py``; ``extractor.py`` is the object that backends hand out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spikelab.spike_sorting.data.traces import SpikeInterfaceTraces
    from spikelab.spike_sorting.waveforms.engine import compute_waveforms
    from spikelab.spike_sorting.waveforms.extractor import WaveformExtractor, extract, waveforms_from_extractor

__all__ = ["SpikeInterfaceTraces", "WaveformExtractor", "compute_waveforms", "extract", "waveforms_from_extractor"]

_HOMES = {"compute_waveforms": "waveforms.engine", "SpikeInterfaceTraces": "data.traces"}


def __getattr__(name: str) -> Any:
    # Lazy, so that numba is loaded by those who extract waveforms only.
    if name in __all__:
        from importlib import import_module

        return getattr(import_module(f"spikelab.spike_sorting.{_HOMES.get(name, 'waveforms.extractor')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

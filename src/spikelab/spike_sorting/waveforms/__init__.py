"""Templates, noise and quality of every unit, computed in time order from the recording.

::

    estimate  a template of at most 100 spikes -> main channel and polarity      engine.py
    align     every spike -> its peak on the main channel                        alignment.py
    average   up to ``max_waveforms_per_unit`` aligned spikes -> template, std   templates.py
    measure   noise, amplitude, SNR, std_norm                                    noise.py, metrics.py

``engine.py`` has the loops over the chunks of ``chunks.py``. Spikes are aligned and averaged chunk by chunk in one
pass: with the estimate, the recording is read twice, and once more for every further block of units whose running sums
do not fit into memory.

The inner loops are in ``_kernels.py``; ``extractor.py`` is the object that backends return.
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

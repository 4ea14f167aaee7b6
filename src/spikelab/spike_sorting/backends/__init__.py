"""Run spike sorters through one interface.

==================================  ==========================================================================
``kilosort2``, ``kilosort4``        through SpikeInterface, in a supervised child process
``rt_sort``                         RT-Sort, in this process; by how spikes propagate; CPU or GPU
``threshold``                       threshold detection without clustering, in seconds; for tests and a first look
``spikeinterface:<name>``           any other sorter that SpikeInterface runs
entry points ``spikelab.sorters``   sorters of other packages
==================================  ==========================================================================

Nothing is imported until a class is asked for.
"""

from __future__ import annotations

from spikelab.spike_sorting.backends.registry import get_backend_class, list_sorters, refresh_sorters

__all__ = ["get_backend_class", "list_sorters", "refresh_sorters"]

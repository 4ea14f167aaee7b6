"""Reading and writing :class:`~spikelab.spikedata.SpikeData`.

``.npz`` and ``.h5`` hold the same arrays and one JSON text, ``header``, with the structure of the data: no pickled
objects, and the same bytes for the same data. ``.pkl`` is Python's own format.
"""

from __future__ import annotations

from spikelab.spikedata._files import save
from spikelab.spikedata.spikedata import SpikeData

__all__ = ["load", "save"]

load = SpikeData.load

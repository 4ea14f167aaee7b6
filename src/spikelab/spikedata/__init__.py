"""Spike trains with what is known about their units, and the curation of them."""

from __future__ import annotations

from spikelab.spikedata._aligned import AlignedSpikes
from spikelab.spikedata.spikedata import SpikeData

__all__ = ["AlignedSpikes", "SpikeData"]

"""``spikelab view``: the report on loopback, with traces of any moment, and decisions that are kept on disk."""

from spikelab.spike_sorting.view.claim import AlreadyServedError
from spikelab.spike_sorting.view.serving import Served, serve

__all__ = ["AlreadyServedError", "Served", "serve"]

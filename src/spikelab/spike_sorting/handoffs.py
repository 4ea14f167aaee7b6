"""The old name of :mod:`spikelab.spike_sorting.exchange.formats`; it goes with the next release."""

import sys
import warnings

from spikelab.spike_sorting.exchange.formats import handoff, nwb, phy, phy_curation, phy_features, spikeinterface

__path__: list[str] = []  # a package, so that ``import spikelab.spike_sorting.handoffs.nwb`` works
for _module in (handoff, nwb, phy, phy_curation, phy_features, spikeinterface):
    sys.modules[f"{__name__}.{_module.__name__.rpartition('.')[2]}"] = _module

warnings.warn(
    "spikelab.spike_sorting.handoffs is now spikelab.spike_sorting.exchange.formats; the old name goes with the next "
    "release",
    DeprecationWarning,
    stacklevel=2,
)

"""Clock of a file: when its frames were recorded, and where frames are missing.

::

    breaks.py     where times or sample numbers jump, and the rate between the jumps
    readers.py    which numbers each format has
    split.py      the recording, with a segment for each stretch without a break
"""

from spikelab.spike_sorting.recording.clock.readers import Clock, Part, read_clock
from spikelab.spike_sorting.recording.clock.split import Stretched, split_at_breaks

__all__ = ["Clock", "Part", "Stretched", "read_clock", "split_at_breaks"]

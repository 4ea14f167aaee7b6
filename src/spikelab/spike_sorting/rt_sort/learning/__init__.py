"""From spikes on single electrodes to sequences, which are the units."""

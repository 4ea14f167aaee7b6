"""What spikelab costs, measured beside SpikeInterface and scipy on the same recordings; see README.md."""

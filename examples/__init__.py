"""Scripts that show what spikelab does; each makes its own recording and needs nothing else."""

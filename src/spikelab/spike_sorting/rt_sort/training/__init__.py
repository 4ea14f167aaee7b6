"""Make the detection models: generated recordings in, a folder with weights and a model card out.

::

    python -m spikelab.spike_sorting.rt_sort.training --probe mea --out FOLDER
"""

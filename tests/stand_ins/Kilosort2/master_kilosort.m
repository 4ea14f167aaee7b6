% By this file SpikeInterface and spikelab know the folder of Kilosort 2.

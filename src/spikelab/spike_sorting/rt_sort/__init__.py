"""RT-Sort: neurons found by how their action potentials travel across electrodes."""

"""The machine, its processes and its files: no science, no settings."""

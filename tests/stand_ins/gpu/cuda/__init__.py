"""Stands in for the packages cuda-python and cuda-bindings."""

"""Sorters in processes and containers of their own."""

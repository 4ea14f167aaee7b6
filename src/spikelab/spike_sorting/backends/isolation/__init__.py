"""Run sorters of other packages in supervised processes and containers: start, watch, end."""

"""Measurements: what bootprof costs and gains, as ratios in one run."""

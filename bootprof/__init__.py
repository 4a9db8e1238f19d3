"""Boot profiling that drives the optimization of live images."""

__version__ = "0.1.0"

"""Loadstar: the control plane for electric-vehicle charging networks."""

__version__ = "0.1.0"

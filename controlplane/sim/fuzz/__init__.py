"""Frames that no station should send: `python -m controlplane.sim.fuzz`."""

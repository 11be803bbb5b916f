"""Vehicles that feed in: a grid event at sites whose buildings alone draw more than it allows."""

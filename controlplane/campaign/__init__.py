"""Firmware campaigns: many chargers brought to one version, in waves."""

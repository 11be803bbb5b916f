"""Benches that print one JSON object each, so that a claim of speed can be checked by anyone."""

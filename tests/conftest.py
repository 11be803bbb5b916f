"""Hypothesis looks for new examples at every desk, and repeats the same ones under CI, so that a
landing fails for what it changed and not by chance."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

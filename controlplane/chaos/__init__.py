"""Loadstar on a real cluster of this machine, broken at random from a seed, and audited."""

"""Simulated vehicles, buildings and stations: the world that Loadstar is tried against.

Nothing here shares code with Loadstar's own reading of OCPP or of the electrical tree, so that a
mistake there is not repeated here.
"""

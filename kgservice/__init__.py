"""Knowledge-graph completion and search: from a graph to trained, calibrated, indexed and served answers."""

__version__ = "0.1.0"

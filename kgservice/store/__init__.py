"""What outlives a process and is no release: entities that were put, and names that were erased."""

from kgservice.store.journal import Changes, Journal

__all__ = ["Changes", "Journal"]

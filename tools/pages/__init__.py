"""The parts of pages that are generated from committed results."""

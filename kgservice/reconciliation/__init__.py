"""Cells of a table → entities: candidates with scores that add up, suggestions, previews, and values to fetch."""

"""Routes, a file per kind of thing asked for."""

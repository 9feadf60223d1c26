"""What a whole graph probably lacks, and which of its statements are probably wrong, with where each proposal comes from."""

"""Training: distinct questions, the grouped softmax, the loop, and checkpoints that resume to the same result."""

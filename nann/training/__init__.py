"""Training: batches, objective, and the loop with checkpoints."""

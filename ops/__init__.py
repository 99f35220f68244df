"""Building blocks for TensorFlow, usable without the rest: embedding lookup, sparse optimizers, native record encoding."""

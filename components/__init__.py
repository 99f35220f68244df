"""One thin adapter per step: a kfp component of a few lines and a click command around the same step function."""

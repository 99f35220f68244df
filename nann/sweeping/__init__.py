"""Sweeps: which settings a training is tried with, which trials are given up early, and what came of them."""

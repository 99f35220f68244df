"""Tuning: the search parameters, and the graphs, that reach a target at the least cost on validation users."""

"""The graph of users and items behind the scorer `graph`: edges from training users' events, and neighbours sampled along them."""

from nann.neighborhood.edges import InteractionGraph, build_graph
from nann.neighborhood.sampling import NeighborhoodShape, NeighborSampler

__all__ = ["InteractionGraph", "NeighborSampler", "NeighborhoodShape", "build_graph"]

"""The graph over the item vectors: built with hnswlib, decoded into row-split neighbour lists, stored as plain numpy files."""

from nann.index.build import build_hnsw, build_threads, insert_vectors, load_hnsw, save_hnsw, vectors_of
from nann.index.decode import decode_hnsw
from nann.index.embeddings import Embeddings, load_embeddings
from nann.index.entries import enter_at_untrained
from nann.index.graph import Graph, NeighborLists, load_graph, save_graph
from nann.index.statistics import describe_graph

__all__ = [
    "Embeddings",
    "Graph",
    "NeighborLists",
    "build_hnsw",
    "build_threads",
    "decode_hnsw",
    "describe_graph",
    "enter_at_untrained",
    "insert_vectors",
    "load_embeddings",
    "load_graph",
    "load_hnsw",
    "save_graph",
    "save_hnsw",
    "vectors_of",
]

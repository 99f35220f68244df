"""Export: the frozen scorer, the retrieval graph with its tables, and the ways to load them again."""

from nann.export.catalogue import Catalogue
from nann.export.freeze import FrozenScorer, cut_networks, freeze_scorer, load_frozen_graph, load_frozen_scorer
from nann.export.load import (
    ExportedRetrieval,
    LinkedRetrieval,
    PortableRetrieval,
    load_corpus,
    open_linked,
    open_portable,
)
from nann.export.retrieval_graph import write_retrieval_graph

__all__ = [
    "Catalogue",
    "ExportedRetrieval",
    "FrozenScorer",
    "LinkedRetrieval",
    "PortableRetrieval",
    "cut_networks",
    "freeze_scorer",
    "load_corpus",
    "load_frozen_graph",
    "load_frozen_scorer",
    "open_linked",
    "open_portable",
    "write_retrieval_graph",
]

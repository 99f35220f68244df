"""Export: the frozen scorer, the retrieval graph with its tables, and the ways to load them again."""

from nann.export.catalogue import Catalogue
from nann.export.freeze import FrozenScorer, cut_networks, freeze_scorer, load_frozen_graph, load_frozen_scorer, lower_frozen
from nann.export.load import (
    ConvertedModel,
    ExportedRetrieval,
    LinkedRetrieval,
    SavedRetrieval,
    load_corpus,
    load_corpus_memory,
    load_table,
    open_graph,
    open_linked,
    open_native,
    open_portable,
)
from nann.export.retrieval_graph import RetrievalParts, write_retrieval_graph
from nann.export.served_inputs import rows_of_text, served_inputs, unknown_inputs, write_served_inputs

__all__ = [
    "Catalogue",
    "ConvertedModel",
    "ExportedRetrieval",
    "FrozenScorer",
    "LinkedRetrieval",
    "RetrievalParts",
    "SavedRetrieval",
    "cut_networks",
    "freeze_scorer",
    "load_corpus",
    "load_corpus_memory",
    "load_frozen_graph",
    "load_frozen_scorer",
    "load_table",
    "lower_frozen",
    "open_graph",
    "open_linked",
    "open_native",
    "open_portable",
    "rows_of_text",
    "served_inputs",
    "unknown_inputs",
    "write_retrieval_graph",
    "write_served_inputs",
]

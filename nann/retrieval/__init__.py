"""Retrieval: the beam walk over the graph, the exact scan of the corpus behind the same interface, and a plain reference of the walk."""

from nann.retrieval.beam import Found, beam_search
from nann.retrieval.exact import exact_search
from nann.retrieval.history import prepare_history
from nann.retrieval.plan import WalkLevel, WalkPlan, plan_walk
from nann.retrieval.retrievers import BeamRetriever, ExactRetriever, HistoryScorer, Retrieved, UserScorer
from nann.retrieval.tables import SearchTables

__all__ = [
    "BeamRetriever",
    "ExactRetriever",
    "Found",
    "HistoryScorer",
    "Retrieved",
    "SearchTables",
    "UserScorer",
    "WalkLevel",
    "WalkPlan",
    "beam_search",
    "exact_search",
    "plan_walk",
    "prepare_history",
]

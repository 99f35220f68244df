"""Retrieval: the beam walk over the graph, and the exact scan of the corpus behind the same interface."""

from nann.retrieval.beam import Found, SearchInputs, beam_search
from nann.retrieval.exact import exact_search
from nann.retrieval.filters import FilterTables
from nann.retrieval.fused_scorer import FusedScorer
from nann.retrieval.history import prepare_history
from nann.retrieval.native_walk import NativeWalk
from nann.retrieval.plan import AS_BUILT, SearchParameters, WalkLevel, WalkPlan, plan_walk
from nann.retrieval.retrievers import BeamRetriever, ExactRetriever, FilteredRetriever, HistoryScorer, Retrieved, UserScorer
from nann.retrieval.search import Filtering, FusedSearch, OpSearch, Query, Search
from nann.retrieval.stock_walk import StockWalk
from nann.retrieval.tables import SearchTables
from nann.retrieval.walk import Walk

__all__ = [
    "AS_BUILT",
    "BeamRetriever",
    "ExactRetriever",
    "FilterTables",
    "FilteredRetriever",
    "Filtering",
    "Found",
    "FusedScorer",
    "FusedSearch",
    "HistoryScorer",
    "NativeWalk",
    "OpSearch",
    "Query",
    "Retrieved",
    "Search",
    "SearchInputs",
    "SearchParameters",
    "SearchTables",
    "StockWalk",
    "UserScorer",
    "Walk",
    "WalkLevel",
    "WalkPlan",
    "beam_search",
    "exact_search",
    "plan_walk",
    "prepare_history",
]

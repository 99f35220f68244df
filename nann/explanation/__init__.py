"""Why a model recommends an item: the parts of its score, and what the model knows about the item."""

from nann.explanation.item import ItemFacts, Neighbor, Successor, item_facts
from nann.explanation.reasons import Explanation, HistoryItem, explain
from nann.explanation.score_parts import PairEvidence, ScoreParts

__all__ = [
    "Explanation",
    "HistoryItem",
    "ItemFacts",
    "Neighbor",
    "PairEvidence",
    "ScoreParts",
    "Successor",
    "explain",
    "item_facts",
]

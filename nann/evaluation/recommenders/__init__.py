"""Simple recommenders that a trained model has to beat.

All learn from the training events only and answer for the same users as the model, from the same histories. Parameters are chosen by
`nann.evaluation.simple_methods`.
"""

from nann.evaluation.recommenders.item_cf import ItemCF
from nann.evaluation.recommenders.popularity import RecentPopularity, popular_list, repeat_lists

__all__ = ["ItemCF", "RecentPopularity", "popular_list", "repeat_lists"]

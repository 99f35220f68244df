"""Simple recommenders that a trained model has to beat.

All learn from the training events only and answer for the same users as the model, from the same histories. Which of them an evaluation
asks, and how it chooses their parameters, stands in `nann.evaluation.simple_methods`.
"""

from nann.evaluation.recommenders.category import CategoryPopularity
from nann.evaluation.recommenders.item_cf import ItemCF
from nann.evaluation.recommenders.popularity import RecentPopularity, popular_list, repeat_lists
from nann.evaluation.recommenders.session_knn import KnnSettings, SessionKnn
from nann.evaluation.recommenders.user_items import UserItems

__all__ = ["CategoryPopularity", "ItemCF", "KnnSettings", "RecentPopularity", "SessionKnn", "UserItems", "popular_list", "repeat_lists"]

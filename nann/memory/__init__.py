"""The memory of pairs: which items follow which in histories, as a recommender of its own and as a part of a scorer."""

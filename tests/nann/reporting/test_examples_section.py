"""The lists of some users: who is chosen, and what is shown of each."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from nann.reporting.examples_section import chosen_examples, examples_section


@given(st.lists(st.integers(0, 200), min_size=1, max_size=60), st.integers(1, 12))
def test_users_are_chosen_from_the_best_served_to_the_worst(ranks: list[int], count: int) -> None:
    chosen = chosen_examples(ranks, count)
    assert len(chosen) == len(set(chosen)) == min(count, len(ranks))
    places = [ranks[place] or 201 for place in chosen]
    assert places == sorted(places)
    everybody = sorted(rank or 201 for rank in ranks)
    assert places[0] == everybody[0]
    assert count == 1 or places[-1] == everybody[-1]


def test_a_user_is_shown_with_history_target_place_and_list() -> None:
    users = [
        {"user_id": "u1", "history": [1, 2, 3, 4], "target_row": 9, "rank_retrieval": 12, "retrieved": [8, 7, 6, 5]},
        {"user_id": "u2", "history": [], "target_row": 3, "rank_retrieval": 0, "retrieved": []},
        {"user_id": "u3", "target_row": 3, "rank_retrieval": 1, "retrieved": [3]},  # of an earlier version
    ]
    section = examples_section(users, lambda row: f"i{row}", titled=False)
    assert section.tables[0].rows == [
        ["u1", "i4 · i3 · i2", "i9", "12", "i8 · i7 · i6"],
        ["u2", "-", "i3", "not in it", "-"],
        ["u3", "-", "i3", "1", "i3"],
    ]
    assert "--names" in section.explanation
    assert "--names" not in examples_section(users, str, titled=True).explanation

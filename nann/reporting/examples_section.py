"""The section of a run's report with the lists of a few users: what they had, what was held out, what they are recommended."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from nann.reporting.page import PageTable, Section

User = Mapping[str, Any]
NEWEST, FIRST = 3, 3  # items shown of a history, and of a list


def chosen_examples(ranks: Sequence[int], count: int) -> list[int]:
    """Positions of users from the best served to the worst, evenly spaced.

    Args:
        ranks: [S] place of each user's held-out item in the list, from 1; 0 where it is not there.
        count: most users to choose.
    """
    places = np.asarray(ranks, np.int64)
    order = np.lexsort((np.arange(len(places)), places, places == 0))
    spaced = np.linspace(0, len(order) - 1, min(count, len(order))).round().astype(int)
    return [int(order[place]) for place in spaced]


def examples_section(users: Sequence[User], name: Callable[[int], str], *, titled: bool) -> Section:
    """The section.

    Args:
        users: rows of ``users.parquet``.
        name: item row -> what it is called.
        titled: whether titles were given.
    """
    rows = [
        [
            str(user["user_id"]),
            _listed(user.get("history", [])[: -NEWEST - 1 : -1], name),
            name(user["target_row"]),
            _place(user["rank_retrieval"]),
            _listed(user["retrieved"][:FIRST], name),
        ]
        for user in users
    ]
    header = ["user", f"newest {NEWEST} of the history", "held out", "its place", f"first {FIRST} recommended"]
    told = "" if titled else " `nann report --names FILE` shows titles beside ids."
    return Section(
        anchor="examples",
        title="Lists of some users",
        explanation=(
            f"{len(rows)} test users, from the best served to the worst, evenly spaced: the newest items of the history, newest first; the "
            f"item that was held out, and its place in the list of the exported graph; and what stands first there.{told}"
        ),
        tables=[PageTable(header, rows, text_columns=len(header))],
    )


def _listed(rows: Sequence[int], name: Callable[[int], str]) -> str:
    return " · ".join(map(name, rows)) or "-"


def _place(rank: int) -> str:
    return f"{rank:,}" if rank else "not in it"

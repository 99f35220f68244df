"""What a model may read beside items and categories: features of items, features of users, and inputs of the log itself.

The dataset describes them (``inputs`` of its ``meta.json``), a training chooses among them by name, and those that are not the items' come
with every request, as the arrays of `Samples.inputs` and of `nann.training.batches.Batch.inputs`:

- side "history": [B, L] integers beside the history's items; ``behavior`` holds rows 1..K of the kinds of events, ``time`` unix seconds
  (only differences count); 0 is missing;
- side "user": [B, V] rows 1..K of the user's values, 0 pads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from nann.contents import opening

TIME, BEHAVIOR = "time", "behavior"
INPUT_PREFIX = "input_"  # before an input's name among tensors that have other names, too


@dataclass(frozen=True)
class FeatureLists:
    """One feature of N items, or of N users.

    Attributes:
        values: [V] int32 value rows 1..num_values, item after item.
        row_splits: [N + 2] int64; item row r has ``values[row_splits[r]:row_splits[r + 1]]``, row 0 none.
        num_values: K.
    """

    values: npt.NDArray[np.int32]
    row_splits: npt.NDArray[np.int64]
    num_values: int

    @classmethod
    def unknown(cls, *, num_items: int, num_entries: int, num_values: int) -> FeatureLists:
        """Of the right sizes, to be filled from a checkpoint."""
        return cls(np.zeros(num_entries, np.int32), np.zeros(num_items + 2, np.int64), num_values)

    def dense(self, rows: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
        """[n, V] value rows of items or users [n], V the longest list among them and at least 1, 0 pads."""
        lengths = self.row_splits[rows + 1] - self.row_splits[rows]
        columns = np.arange(max(1, int(lengths.max(initial=0))))
        inside = columns < lengths[:, np.newaxis]
        places = np.where(inside, self.row_splits[rows][:, np.newaxis] + columns, 0)
        return np.where(inside, np.append(self.values, np.int32(0))[places], 0).astype(np.int32)


@dataclass(frozen=True)
class RequestInput:
    """An input that comes with every request.

    Attributes:
        side: "history" or "user".
        num_values: K; None for times.
    """

    side: Literal["history", "user"]
    num_values: int | None = None


ModelInput: TypeAlias = FeatureLists | RequestInput
Features: TypeAlias = Mapping[str, ModelInput]


class UserFeatures:
    """User side inputs of a dataset, looked up by user id.

    Args:
        path: table of a row per user: ``user_id``, and a list of value rows per input.
        num_values: K by name of the inputs to read, all of side "user".
    """

    def __init__(self, path: Path, num_values: Mapping[str, int]) -> None:
        with opening(path, "a table of users' features", step="convert"):
            table = pq.read_table(path, columns=["user_id", *num_values])
            self._user_ids = np.asarray(table["user_id"].to_numpy(zero_copy_only=False)).astype(str if _is_text(table) else np.int64)
            self._order = np.argsort(self._user_ids, kind="stable")
            self.lists = {name: feature_lists(table[name], count) for name, count in num_values.items()}

    def rows_of(self, user_ids: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
        """[n] rows of ``lists`` of user ids [n]; 0 for users that the table does not have."""
        ordered = self._user_ids[self._order]
        place = np.minimum(np.searchsorted(ordered, user_ids), len(ordered) - 1)
        return np.where(ordered[place] == user_ids, self._order[place] + 1, 0)


def _is_text(table: Any) -> bool:
    return str(table["user_id"].type) in {"string", "large_string"}


def feature_lists(column: Any, num_values: int) -> FeatureLists:
    """A column of lists of value rows 1..num_values, a list per item or user.

    Raises:
        ValueError: a row is out of range.
    """
    lists = column.combine_chunks()
    row_splits = np.concatenate([[0], lists.offsets.to_numpy()]).astype(np.int64)
    values = lists.flatten().to_numpy().astype(np.int32)
    if len(values) and not 0 <= values.min() <= values.max() <= num_values:
        raise ValueError(f"values must be rows 0..{num_values}, got {values.min()}..{values.max()}")
    return FeatureLists(values, row_splits, num_values)

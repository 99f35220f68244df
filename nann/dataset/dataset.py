"""A dataset artifact that was opened. Paths and names of its files are known here; the readers take what they read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from data_prep.meta import read_meta
from nann.contents import opening
from nann.dataset.histories import Histories, read_histories
from nann.dataset.inputs import BEHAVIOR, TIME, ModelInput, RequestInput, UserFeatures, feature_lists
from nann.dataset.items import Items, read_items
from nann.dataset.samples import Samples, read_samples
from nann.errors import ArtifactError


class Dataset:
    """An artifact of `convert`: its description is read at once, each part when it is asked for.

    Args:
        path: its directory.

    Attributes:
        path: its directory.
        meta: its ``meta.json``.
        inputs: descriptions by name of what a model may read beside items and categories, see `data_prep.report.ConvertReport`.
        max_length: history items in a sample.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.meta: dict[str, Any] = read_meta(path, error=ArtifactError)
        self.inputs: dict[str, dict[str, Any]] = dict(self.meta.get("inputs", {}))
        self.max_length = int(self.meta["max_length"])

    def files(self, split: str) -> list[Path]:
        """The record files of a split, in order of name."""
        return sorted(self.path.glob(f"{split}-*.tfrecord*"))

    def items(self) -> Items:
        """The catalogue.

        Raises:
            ArtifactError: it is damaged, or its rows are not 1..N in order.
        """
        return read_items(self.path / "items.parquet", int(self.meta["num_categories"]))

    def histories(self, *, times: bool = False, inputs: Sequence[str] = (), user_ids: bool = False) -> Histories:
        """The training split, of either layout.

        Args:
            times: read the events' times too, where the records have them.
            inputs: names of inputs of the dataset; what belongs to events and users is read, too.
            user_ids: keep the users' ids.

        Raises:
            ArtifactError: the records are damaged, there is none of training, or no input of a name.
        """
        read = self.request_names(inputs)
        users = self._users(read)
        with opening(self.path, "a dataset of whole training records", step="convert"):
            found = read_histories(
                self.files("train"), self.meta, times=times or TIME in read, behaviors=BEHAVIOR in read, users=users, user_ids=user_ids
            )
            self._require_rows(found.item_rows, least=1)
        if len(found.row_splits) < 2:
            raise ArtifactError(f"{self.path} has no training users; convert a longer log, or hold out fewer users")
        return found

    def samples(self, split: str, *, inputs: Sequence[str] = ()) -> Samples:
        """The held-out samples of split "validate" or "test"; where the records have no user ids the users are numbered from 0.

        Args:
            split: "validate" or "test".
            inputs: names of inputs of the dataset; what belongs to events and users is read, too.

        Raises:
            ArtifactError: the records are damaged, or there is no input of a name.
        """
        read = self.request_names(inputs)
        of_events = [name for name in (TIME, BEHAVIOR) if name in read]
        users = self._users(read)
        with opening(self.path, f"a dataset of whole {split} records", step="convert"):
            found = read_samples(self.files(split), self.meta, split, of_events=of_events, users=users)
            self._require_rows(found.histories, least=0)
            self._require_rows(found.targets, least=1)
        return found

    def _require_rows(self, rows: NDArray[np.integer], *, least: int) -> None:
        most = int(self.meta["num_items"])
        if rows.size and not least <= rows.min() <= rows.max() <= most:
            raise ValueError(f"item rows must be {least}..{most}, got {rows.min()}..{rows.max()}")

    def choose_inputs(self, names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Descriptions of the inputs of some names.

        Raises:
            ArtifactError: there is none of a name.
        """
        for name in names:
            if name not in self.inputs:
                remedy = {
                    TIME: "its records have no times, convert the log itself",
                    BEHAVIOR: "run `nann convert` with --behaviors and --keep-behaviors",
                }.get(name, "run `nann convert` with --item-features or --user-features")
                known = ", ".join(self.inputs) or "none"
                raise ArtifactError(f"{self.path} has no input {name!r}, it has {known}; {remedy}, or leave it out of --inputs")
        return {name: self.inputs[name] for name in names}

    def request_names(self, names: Sequence[str]) -> dict[str, str]:
        """Name -> side of those inputs that come with every request.

        Raises:
            ArtifactError: there is none of a name.
        """
        return {name: entry["side"] for name, entry in self.choose_inputs(names).items() if entry["side"] != "item"}

    def features(self, names: Sequence[str]) -> dict[str, ModelInput]:
        """The inputs of some names as scorers are made with them.

        Raises:
            ArtifactError: there is none of a name.
        """
        chosen = self.choose_inputs(names)
        of_items = [name for name, entry in chosen.items() if entry["side"] == "item"]
        with opening(self.path / "item_features.parquet", "a table of items' features", step="convert"):
            table = pq.read_table(self.path / "item_features.parquet", columns=of_items) if of_items else None
            return {
                name: RequestInput(entry["side"], entry.get("num_values"))
                if table is None or entry["side"] != "item"
                else feature_lists(table[name], int(entry["num_values"]))
                for name, entry in chosen.items()
            }

    def _users(self, read: dict[str, str]) -> UserFeatures | None:
        """The users' features among what is read; None without any."""
        num_values = {name: int(self.inputs[name]["num_values"]) for name, side in read.items() if side == "user"}
        return UserFeatures(self.path / "user_features.parquet", num_values) if num_values else None

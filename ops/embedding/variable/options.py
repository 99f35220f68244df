"""What an `EmbeddingVariable` does with new, rare and stale keys. The names are those of DeepRec's EmbeddingVariable interface."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class InitializerOption:
    """Start values of rows.

    Attributes:
        initializer: called with (shape [m, dim], dtype) for the m rows that are new; None: uniform in +-1/sqrt(dim), or what the
            embedding column says.
    """

    initializer: Any = None


@dataclass(frozen=True)
class CounterFilter:
    """Admits keys that were met often enough, exactly counted.

    A key has a row from the lookup on in which its count reaches ``filter_freq``. Every occurrence in a training lookup counts, those of
    that lookup first: a key that occurs ``filter_freq`` times in one batch has its row in this batch already. Counts of keys without a row
    are kept: 32 bytes for an int64 key, 48 for a string (and those of its text above 22), and the index's 8 to 24.

    Attributes:
        filter_freq: occurrences needed; 0 and 1 admit every key at once.
    """

    filter_freq: int = 0

    def __post_init__(self) -> None:
        if self.filter_freq < 0:
            raise ValueError(f"filter_freq must be at least 0, got {self.filter_freq}")


@dataclass(frozen=True)
class CBFFilter:
    """Admits keys as `CounterFilter` does, but counts them in a counting Bloom filter, whose memory does not grow with the keys.

    The count of a key is never below the true one; it is above with at most ``false_positive_probability`` while no more than
    ``max_element_size`` keys were counted, and such a key is admitted early. Counters are never taken back, eviction included: a key that
    was evicted is admitted again when it is next met.

    Attributes:
        filter_freq: occurrences needed.
        max_element_size: keys without a row that the filter is made for.
        false_positive_probability: see above.
    """

    filter_freq: int
    max_element_size: int
    false_positive_probability: float = 0.01

    def __post_init__(self) -> None:
        if self.filter_freq < 1 or self.max_element_size < 1:
            raise ValueError(
                f"filter_freq and max_element_size must be at least 1, got {self.filter_freq} and {self.max_element_size}; "
                "without a filter, leave filter_option out"
            )
        if not 0 < self.false_positive_probability < 1:
            raise ValueError(f"false_positive_probability must lie between 0 and 1, got {self.false_positive_probability}")

    @property
    def num_counters(self) -> int:
        """Counters m = -n ln p / (ln 2)^2 (Bloom, CACM 13 (1970)), of 4 bytes each."""
        return math.ceil(-self.max_element_size * math.log(self.false_positive_probability) / math.log(2) ** 2)

    @property
    def num_hashes(self) -> int:
        """Hash functions k = m / n ln 2."""
        return max(1, round(self.num_counters / self.max_element_size * math.log(2)))


@dataclass(frozen=True)
class GlobalStepEvict:
    """Evicts keys that were not met for a while, keys without a row too.

    Attributes:
        steps_to_live: a key goes if the step now minus its version, the step of the last training lookup it was in, is above this.
    """

    steps_to_live: int

    def __post_init__(self) -> None:
        if self.steps_to_live < 1:
            raise ValueError(f"steps_to_live must be at least 1, got {self.steps_to_live}; without eviction, leave evict_option out")


@dataclass(frozen=True)
class L2WeightEvict:
    """Evicts keys whose row is small.

    Attributes:
        l2_weight_threshold: a key goes if the L2 norm of its row is below this.
    """

    l2_weight_threshold: float

    def __post_init__(self) -> None:
        if not self.l2_weight_threshold > 0:
            raise ValueError(f"l2_weight_threshold must be above 0, got {self.l2_weight_threshold}; without eviction, leave it out")


@dataclass(frozen=True)
class StorageOption:
    """Where rows are kept.

    Attributes:
        storage_type: "DRAM", the only one.
    """

    storage_type: str = "DRAM"

    def __post_init__(self) -> None:
        if self.storage_type != "DRAM":
            raise ValueError(f"storage_type must be DRAM, got {self.storage_type!r}: rows are kept in memory only")


@dataclass(frozen=True)
class EmbeddingVariableOption:
    """Options of an `EmbeddingVariable`.

    Attributes:
        init_option: start values of rows.
        filter_option: which keys are admitted; None: all.
        evict_option: which keys `EmbeddingVariable.evict`, and so saving a checkpoint, takes out; None: none.
        storage_option: where rows are kept.
    """

    init_option: InitializerOption = field(default_factory=InitializerOption)
    filter_option: CounterFilter | CBFFilter | None = None
    evict_option: GlobalStepEvict | L2WeightEvict | None = None
    storage_option: StorageOption = field(default_factory=StorageOption)

    @property
    def filter_frequency(self) -> int:
        """Occurrences a key needs to be admitted; 0: none."""
        return 0 if self.filter_option is None else self.filter_option.filter_freq

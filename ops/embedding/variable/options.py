"""What an `EmbeddingVariable` does with new, rare and stale keys. The names are those of DeepRec's EmbeddingVariable interface."""

from __future__ import annotations

import enum
import math
from dataclasses import dataclass, field
from typing import Any

import tensorflow as tf


@dataclass(frozen=True)
class InitializerOption:
    """Start values of rows.

    Attributes:
        initializer: called with (shape [m, dim], dtype) for the m rows that are new; None: uniform in +-1/sqrt(dim), or what the
            embedding column says.
        default_value_dim: rows of the table that an initializer is told of whose values depend on its shape (Glorot, He, orthogonal);
            None: 4096. Others draw each new row.
        default_value_no_permission: what a key without a row looks up: 0, the only value.

    Raises:
        ValueError: an attribute is none of its values.
    """

    initializer: Any = None
    default_value_dim: int | None = None
    default_value_no_permission: float = 0.0

    def __post_init__(self) -> None:
        if self.initializer is not None and not callable(self.initializer):
            raise ValueError(f"initializer must be callable, with (shape, dtype), got {self.initializer!r}")
        if self.default_value_dim is not None and self.default_value_dim < 1:
            raise ValueError(f"default_value_dim must be at least 1, got {self.default_value_dim}")
        if self.default_value_no_permission != 0:
            raise ValueError(
                f"default_value_no_permission must be 0, got {self.default_value_no_permission}: a key without a row adds nothing"
            )


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
        counter_type: must be None or an integer type, and does nothing: counters have 32 bits.
    """

    filter_freq: int
    max_element_size: int
    false_positive_probability: float = 0.01
    counter_type: Any = None

    def __post_init__(self) -> None:
        if self.filter_freq < 1 or self.max_element_size < 1:
            raise ValueError(
                f"filter_freq and max_element_size must be at least 1, got {self.filter_freq} and {self.max_element_size}; "
                "without a filter, leave filter_option out"
            )
        if self.counter_type is not None and not tf.as_dtype(self.counter_type).is_integer:
            raise ValueError(f"counter_type must be an integer type, got {self.counter_type!r}")
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


class StorageType(enum.Enum):
    """Kinds of memory, by the names that programs have for them."""

    DEFAULT = "DEFAULT"
    DRAM = "DRAM"
    PMEM_MEMKIND = "PMEM_MEMKIND"
    PMEM_LIBPMEM = "PMEM_LIBPMEM"
    SSDHASH = "SSDHASH"
    LEVELDB = "LEVELDB"
    HBM = "HBM"
    DRAM_PMEM = "DRAM_PMEM"
    DRAM_SSDHASH = "DRAM_SSDHASH"
    DRAM_LEVELDB = "DRAM_LEVELDB"
    HBM_DRAM = "HBM_DRAM"
    DRAM_PMEM_SSDHASH = "DRAM_PMEM_SSDHASH"
    HBM_DRAM_SSDHASH = "HBM_DRAM_SSDHASH"


@dataclass(frozen=True)
class StorageOption:
    """Where rows are kept: in the host's memory.

    Attributes:
        storage_type: "DRAM". A `StorageType` or its name may be given, or None; DRAM, DEFAULT and None are the same, and the others are
            refused by name.
        storage_path, storage_size, cache_strategy: must be None; they belong to the others.

    Raises:
        ValueError: a storage that does not exist here.
    """

    storage_type: StorageType | str | None = "DRAM"
    storage_path: str | None = None
    storage_size: Any = None
    cache_strategy: Any = None

    def __post_init__(self) -> None:
        given = self.storage_type
        name = "DRAM" if given is None else given.name if isinstance(given, StorageType) else given
        if name not in StorageType.__members__:
            raise ValueError(f"storage_type must be one of {', '.join(StorageType.__members__)}, got {given!r}")
        if name not in ("DRAM", "DEFAULT"):
            raise ValueError(f"storage_type must be DRAM, got {name}: rows are kept in the host's memory only")
        object.__setattr__(self, "storage_type", "DRAM")
        for argument in ("storage_path", "storage_size", "cache_strategy"):
            if getattr(self, argument) is not None:
                raise ValueError(f"{argument} must be None, got {getattr(self, argument)!r}: it belongs to storage other than DRAM")


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

    def __post_init__(self) -> None:
        kinds = {
            "init_option": InitializerOption,
            "filter_option": CounterFilter | CBFFilter | None,
            "evict_option": GlobalStepEvict | L2WeightEvict | None,
            "storage_option": StorageOption,
        }
        for name, kind in kinds.items():
            if not isinstance(getattr(self, name), kind):
                raise ValueError(f"{name} must be {getattr(kind, '__name__', kind)}, got {getattr(self, name)!r}")

    @property
    def filter_frequency(self) -> int:
        """Occurrences a key needs to be admitted; 0: none."""
        return 0 if self.filter_option is None else self.filter_option.filter_freq

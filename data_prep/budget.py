"""How the memory limit of a conversion is spent.

Fixed: the interpreter with Arrow (and TensorFlow, without the native library), and the batches in flight. By the log: what is kept per
distinct user and item. The rest is shared by the threads, each of which orders and encodes one partition at a time. The numbers are
fitted to peaks of resident memory that `benchmarks/convert_memory.py` measures, so that the estimate is above them.
"""

from __future__ import annotations

import numpy as np

from data_prep.config import ConvertConfig
from data_prep.counting import Counts
from data_prep.errors import DataError
from ops.data_library import load_data_library

GIB = 1 << 30
MIB = 1 << 20
FIXED_BYTES = 120 * MIB
TENSORFLOW_BYTES = 400 * MIB  # where records are written without the native library
BATCH_BYTES = 24 * MIB  # per thread and one more: the text of a block, its columns, their packed form
ID_BYTES = 96  # per distinct user or item of integers: id, count, code, row, and the copies while they are ordered
TEXT_COPIES = 3  # of the characters of ids that are text
EVENT_BYTES = 72  # per event of a partition: key, position, item, time, the features of all events at once and their encoding
MAX_PARTITION_EVENTS = 1 << 20  # four times as many take a third longer to order and encode: they fall out of the caches
MIN_PARTITION_EVENTS = 1 << 16


def partition_events(config: ConvertConfig, counts: Counts, workers: int) -> int:
    """Events per partition that keep a conversion within its memory limit.

    Args:
        config: memory limit (GiB), or the number of partitions.
        counts: of the log.
        workers: threads.

    Raises:
        DataError: the distinct ids alone do not fit.
    """
    if config.partitions:
        return -(-counts.num_events // config.partitions)
    events = int((config.memory_limit * GIB - estimated_bytes(counts, workers, 0)) / (workers * EVENT_BYTES))
    if events < MIN_PARTITION_EVENTS:
        needed = estimated_bytes(counts, workers, MIN_PARTITION_EVENTS) / GIB
        raise DataError(
            f"{len(counts.user_ids):,} users and {len(counts.item_ids):,} items need about {needed:.2f} GiB with {workers} threads, but "
            f"memory_limit is {config.memory_limit:g} GiB; raise it, or lower threads"
        )
    return min(events, MAX_PARTITION_EVENTS)


def estimated_bytes(counts: Counts, workers: int, events: int) -> int:
    """Peak memory of a conversion.

    Args:
        counts: of the log.
        workers: threads.
        events: of the largest partition.
    """
    ids = len(counts.user_ids) + len(counts.item_ids)
    text = sum(int(column.nbytes) for column in (counts.user_ids, counts.item_ids) if not isinstance(column, np.ndarray))
    fixed = FIXED_BYTES + (0 if load_data_library() is not None else TENSORFLOW_BYTES)
    return fixed + (workers + 1) * BATCH_BYTES + ids * ID_BYTES + TEXT_COPIES * text + workers * events * EVENT_BYTES

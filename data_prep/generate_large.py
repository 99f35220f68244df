"""A generated log of any size in UserBehavior's shape, written block by block.

Shape of the original (100,150,807 rows): 101 events per user, 24 per item, some 9,400 categories, ids without gaps of note, users in a
row, nine days. No structure is planted, unlike in `data_prep.generate`: this log is for measuring speed and memory, not models.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from data_prep.generate import BEHAVIOUR_SHARES, BEHAVIOURS, COLUMNS, DAY_SECONDS, WINDOW_START

ROWS_PER_USER = 101.4
ROWS_PER_ITEM = 24.1
BLOCK_USERS = 1 << 13
MAX_CATEGORIES = 9_439
LARGEST_CATEGORY_ID = 5_162_429


def write_large_log(output: Path, rows: int, seed: int = 1) -> int:
    """Writes a log of about ``rows`` rows as CSV without a header.

    Memory is that of a block of some 800,000 rows; equal arguments give equal bytes.

    Args:
        output: `.csv` file to write.
        rows: rows wanted, at least 100.
        seed: of everything drawn.

    Returns:
        The rows written.

    Raises:
        ValueError: fewer than 100 rows are asked for.
    """
    if rows < 100:
        raise ValueError(f"a large log has at least 100 rows, not {rows}")
    num_items = max(2, round(rows / ROWS_PER_ITEM))
    num_categories = min(MAX_CATEGORIES, num_items)
    rng = np.random.default_rng(seed)
    item_ids = rng.permutation(num_items).astype(np.int64) + 1
    category_ids = rng.choice(LARGEST_CATEGORY_ID, num_categories, replace=False)
    category_of_item = category_ids[np.minimum(rng.zipf(1.3, num_items), num_categories) - 1]
    written, user = 0, 1
    with output.open("wb") as file:
        while written < rows:
            lengths = np.clip(rng.lognormal(np.log(ROWS_PER_USER) - 0.32, 0.8, BLOCK_USERS), 1, 850).astype(np.int64)
            lengths = lengths[: int(np.searchsorted(np.cumsum(lengths), rows - written)) + 1]
            users = np.repeat(np.arange(user, user + len(lengths)), lengths)
            items = (num_items * rng.random(len(users)) ** 3).astype(np.int64)  # a long tail: the first tenth has almost half of the events
            times = WINDOW_START + rng.integers(0, 9 * DAY_SECONDS, len(users))
            table = pa.table(
                dict(
                    zip(
                        COLUMNS,
                        (
                            pa.array(users),
                            pa.array(item_ids[items]),
                            pa.array(category_of_item[items]),
                            pa.DictionaryArray.from_arrays(
                                pa.array(rng.choice(len(BEHAVIOURS), len(users), p=BEHAVIOUR_SHARES).astype(np.int8)), pa.array(BEHAVIOURS)
                            ).dictionary_decode(),
                            pa.array(times),
                        ),
                        strict=True,
                    )
                )
            )
            pa.csv.write_csv(table, file, pa.csv.WriteOptions(include_header=False, quoting_style="none"))
            written, user = written + len(users), user + len(lengths)
    return written

"""Side features of the users from the users table: categorical, with any number of values per user, for models that read them.

`user_features.parquet`, a row per user, ascending user ids: `user_id`, and per feature a column, list<int32> of value rows (1..K, distinct,
as listed; an empty list where the user has none). `user_feature_values.parquet`: `feature` string, `value_row` int64, `value` string,
`users` int64 (users with it). Values go by (users descending, value ascending); those of an earlier dataset keep their rows.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from data_prep.config import ConvertConfig
from data_prep.feature_values import FeatureFiles
from data_prep.users_table import column_named, read_users, require_columns, rows_of_users, user_key
from data_prep.vocabulary import Ids

FILES = FeatureFiles("users", "user_features.parquet", "user_feature_values.parquet")


def write_user_features(out_dir: Path, path: Path, user_ids: Ids, config: ConvertConfig) -> dict[str, int]:
    """Reads the features of `config.user_features` and writes both files.

    Args:
        out_dir: directory to write into.
        path: CSV (plain, gzip, zstd) with a header, or Parquet; of a user listed several times the last line counts.
        user_ids: [U] the dataset's users, ascending.
        config: its `user_features`, `user_columns`, `delimiter` and `feature_separator` apply.

    Returns:
        Feature -> number of its values, K.

    Raises:
        DataError: the file cannot be used, lacks a column, or has none of the users.
    """
    table = read_users(path, config, as_text=tuple(config.user_features.values()))
    require_columns(path, table, (user_key(config), *config.user_features.values()), "user_features")
    source = rows_of_users(path, table[column_named(table, user_key(config))], user_ids)
    columns = {name: table[column_named(table, column)] for name, column in config.user_features.items()}
    texts = {name: column.cast(pa.string()).combine_chunks() for name, column in columns.items()}
    return FILES.write(out_dir, texts, source, separator=config.feature_separator, base=config.base, ids={"user_id": user_ids})

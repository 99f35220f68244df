"""Side features of the users from the users table: categorical, with any number of values per user, for models that read them.

`user_features.parquet`, a row per user, ascending user ids: `user_id`, and per feature a column, list<int32> of value rows (1..K, distinct,
as listed; an empty list where the user has none). `user_feature_values.parquet`: `feature` string, `value_row` int64, `value` string,
`users` int64 (users with it). Values go by (users descending, value ascending); those of an earlier dataset keep their rows.
"""

from __future__ import annotations

import logging
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet

from data_prep.config import ConvertConfig
from data_prep.feature_values import code_values, known_values, values_table
from data_prep.users_table import read_users, require_columns, rows_of_users, user_key
from data_prep.vocabulary import Ids

FEATURES_NAME, VALUES_NAME = "user_features.parquet", "user_feature_values.parquet"
logger = logging.getLogger(__name__)


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
    table = read_users(path, config.delimiter, as_text=tuple(config.user_features.values()))
    require_columns(path, table, (user_key(config), *config.user_features.values()), "user_features")
    source = rows_of_users(path, table[user_key(config)], user_ids)
    known = {} if config.base is None else known_values(config.base / VALUES_NAME)
    columns, values, sizes = {"user_id": pa.array(user_ids)}, [], {}
    for name, column in config.user_features.items():
        text = table[column].cast(pa.string()).combine_chunks()
        coded = code_values(text, source, config.feature_separator, known.get(name, []))
        columns[name], sizes[name] = coded.lists, len(coded.values)
        values.append(values_table(name, coded, "users"))
        logger.info("%s: %s values, %s of %s users have one", name, f"{sizes[name]:,}", f"{coded.owners:,}", f"{len(user_ids):,}")
    pa.parquet.write_table(pa.table(columns), out_dir / FEATURES_NAME, compression="zstd")
    pa.parquet.write_table(pa.concat_tables(values), out_dir / VALUES_NAME, compression="zstd")
    return sizes

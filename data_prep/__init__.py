"""Logs -> grouped histories -> splits -> TFRecord shards; the feature schema; the synthetic log generator.

`convert_log` (module `data_prep.convert`) and `generate_log` (module `data_prep.generate`) are the two entry points.
"""

from data_prep.errors import DataError

__all__ = ["DataError"]

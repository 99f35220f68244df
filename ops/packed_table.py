"""Tables of numbers in fewer bytes: rows of float32 as half precision, or as int8 with one scale per row.

int8 is symmetric: row = scale * q with scale = max |row| / 127, so an entry is off by at most half a scale and zero stays zero
(per-row scales as in arXiv 1911.02079, section 3, and per-channel ones in arXiv 1806.08342, section 2).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ops.precisions import Precision

STORED = {"float32": tf.float32, "bfloat16": tf.bfloat16, "float16": tf.float16, "int8": tf.int8}
INT8_LIMIT = 127


class PackedTable(NamedTuple):
    """A table [N, D]; arrays, tensors or variables.

    Attributes:
        values: [N, D] float32, bfloat16, float16 or int8.
        scales: [N] float32 what a row of int8 is multiplied by; None for the other types.
    """

    values: Any
    scales: Any = None

    def read(self) -> PackedTable:
        """The same as tensors."""
        return PackedTable(*(part if part is None else tf.convert_to_tensor(part) for part in self))

    def gather(self, rows: tf.Tensor) -> tf.Tensor:
        """Float32 rows [..., D] of row numbers [...]."""
        return decode(tf.gather(self.values, rows), None if self.scales is None else tf.gather(self.scales, rows))


def decode(values: tf.Tensor, scales: tf.Tensor | None) -> tf.Tensor:
    """Float32 values [..., D] of packed values [..., D] and, for int8, their rows' scales [...]."""
    values = tf.cast(values, tf.float32)
    return values if scales is None else values * scales[..., tf.newaxis]


def pack(table: npt.NDArray[np.float32], precision: Precision) -> PackedTable:
    """A table [N, D] in a precision.

    Args:
        table: float32, finite.
        precision: of the stored values.

    Raises:
        ValueError: a number does not fit into float16, whose largest is 65,504.
    """
    if precision == "int8":
        scales = np.maximum(np.abs(table).max(axis=1, initial=0.0), np.finfo(np.float32).tiny).astype(np.float32) / INT8_LIMIT
        return PackedTable(np.rint(table / scales[:, np.newaxis]).astype(np.int8), scales)
    with np.errstate(over="ignore"):  # said below
        values = table.astype(STORED[precision].as_numpy_dtype)
    if not np.isfinite(values.astype(np.float32)).all():
        raise ValueError(f"the largest number of the table, {np.abs(table).max():.3g}, does not fit into {precision}; use bfloat16")
    return PackedTable(values)


def unpack(packed: PackedTable) -> npt.NDArray[np.float32]:
    """The float32 table [N, D] that packed arrays stand for."""
    values: npt.NDArray[np.float32] = np.asarray(packed.values).astype(np.float32)
    return values if packed.scales is None else values * np.asarray(packed.scales)[:, np.newaxis]

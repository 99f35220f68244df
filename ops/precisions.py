"""What numbers of a table or of a product are stored in; without TensorFlow, since options are of this type."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "bfloat16", "float16", "int8"]

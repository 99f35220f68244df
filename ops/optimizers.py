"""The optimizer for dense variables and embedding tables together: `ops.embedding.lazy_adamw`."""

from __future__ import annotations

from ops.embedding.lazy_adamw import LazyAdamW

__all__ = ["LazyAdamW"]

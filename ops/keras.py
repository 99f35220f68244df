"""Layers for Keras 3: `ops.embedding.layers`."""

from __future__ import annotations

from ops.embedding.layers import Embedding, EmbeddingBag

__all__ = ["Embedding", "EmbeddingBag"]

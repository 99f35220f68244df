"""Layers for Keras 3, over tables of a fixed number of rows, tables that grow, and adaptive ones: `docs/embedding.md`."""

from __future__ import annotations

from ops.embedding.layers.layers import Embedding, EmbeddingBag

__all__ = ["Embedding", "EmbeddingBag"]

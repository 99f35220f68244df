"""Lookups without a combiner, for models: `ops.embedding.positions`."""

from __future__ import annotations

from ops.embedding.positions import lookup_bags, lookup_by_stock_ops, lookup_positions, position_gradients, stock_ops

__all__ = ["lookup_bags", "lookup_by_stock_ops", "lookup_positions", "position_gradients", "stock_ops"]

"""Adaptive embedding without columns: `ops.embedding.adaptive`."""

from __future__ import annotations

from ops.embedding.adaptive import AdaptiveFeature, adaptive_feature, adaptive_lookup, bucket_of

__all__ = ["AdaptiveFeature", "adaptive_feature", "adaptive_lookup", "bucket_of"]

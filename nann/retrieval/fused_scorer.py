"""Deprecated: a scorer that brings its own search; give the retriever a `FusedSearch` as ``search`` instead."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable
from typing import Any, Protocol

import tensorflow as tf

from nann.retrieval.search import FusedSearch


class Lowered(Protocol):
    """What `nann.export.lower_frozen` returns."""

    program: str
    parameters: Callable[..., Iterable[tf.Tensor]]


class FusedScorer:
    """A scorer that retrievers run as a program.

    Args:
        scorer: a `UserScorer`.
        lowered: its program and parameters.
    """

    def __init__(self, scorer: Any, lowered: Lowered) -> None:
        warnings.warn("FusedScorer is deprecated; give search=FusedSearch(program, parameters)", DeprecationWarning, stacklevel=2)
        self.user_state, self.score = scorer.user_state, scorer.score
        self.search = FusedSearch(lowered.program, lowered.parameters)

"""Retrievers as evaluation uses them."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from nann.dataset import Items, Samples
from nann.evaluation.lists import Lists, Retrieve, collect_lists
from nann.export import ExportedRetrieval, FrozenScorer, lower_frozen
from nann.index.embeddings import Embeddings
from nann.memory.table import CorpusMemory, MemoryTable
from nann.retrieval import BeamRetriever, ExactRetriever, FusedSearch, HistoryScorer, NativeWalk, OpSearch, Search, StockWalk, UserScorer
from nann.retrieval.beam import UserState
from ops import retrieval as native_ops
from ops import scoring
from ops.scoring_program import LoweringError

logger = logging.getLogger(__name__)
USERS_AT_ONCE = 16


class CompiledScorer:
    """A scorer whose `score` is compiled by XLA: the same networks in about half the time of a full scan.

    Logits differ from the exported graph's in the last bits, so two items closer than that may change places; on a corpus of 42,000
    items that was 1 place in 1,600 of the top 200.

    Args:
        scorer: a frozen scorer.
    """

    def __init__(self, scorer: UserScorer) -> None:
        self._scorer = scorer
        self._score = tf.function(scorer.score, jit_compile=True)

    def user_state(self, item_rows: tf.Tensor, cate_rows: tf.Tensor, **inputs: tf.Tensor) -> UserState:
        """The user state of raw histories [B, L] int64."""
        return self._scorer.user_state(item_rows, cate_rows, **inputs)

    def score(self, user_state: UserState, items: tf.Tensor) -> tf.Tensor:
        """Logits [B, n] of items [B, n, D] or [1, n, D]."""
        return self._score(user_state, items)


def fused(scorer: UserScorer) -> FusedSearch | None:
    """A search with the scorer as a program for the native ops; None without these, or where it has an operation that a program has no
    form of."""
    if not isinstance(scorer, FrozenScorer) or not scoring.available():
        return None
    try:
        lowered = lower_frozen(scorer.graph_def)
    except LoweringError as error:
        logger.info("scoring with the scorer's own ops: %s", error)
        return None
    return FusedSearch(lowered.program, lowered.parameters)


def fastest_walk(scorer: UserScorer) -> Search:
    """Walk and scoring in one native op where that is possible, else the native walk, else the stock one."""
    return fused(scorer) or OpSearch(NativeWalk() if native_ops.available() else StockWalk())


def exact_retriever(scorer: UserScorer, embeddings: Embeddings, *, top_k: int, memory: CorpusMemory | None = None) -> ExactRetriever:
    """The scan of the whole corpus, as a native program where that is possible, else with the scorer compiled."""
    search = fused(scorer)
    if search is None:
        return ExactRetriever(CompiledScorer(scorer), embeddings, top_k=top_k, search=OpSearch(block=2048), memory=memory)
    return ExactRetriever(scorer, embeddings, top_k=top_k, search=search, memory=memory)


def exact_scan(scorer: UserScorer, embeddings: Embeddings, *, top_k: int, memory: CorpusMemory | None = None) -> Retrieve:
    """`exact_retriever` without its scores."""
    return as_retrieve(exact_retriever(scorer, embeddings, top_k=top_k, memory=memory))


def trained_lists(
    scorer: HistoryScorer,
    embeddings: Embeddings,
    items: Items,
    samples: Samples,
    *,
    width: int,
    label: str,
    memory: MemoryTable | None = None,
) -> Lists:
    """The exact lists of a trained model that is not exported.

    Args:
        scorer: the model.
        embeddings: its items.
        items: the catalogue.
        samples: S users.
        width: entries of each list.
        label: what runs, for the log.
        memory: of the model, joined with its scores; None: none.
    """
    joined = None
    if memory is not None:
        joined = CorpusMemory.of(
            memory, item_rows=embeddings.item_rows, category_rows=items.category_rows, num_categories=items.num_categories, entries=0
        )
    scan = exact_scan(scorer, embeddings, top_k=width, memory=joined)
    asked: dict[str, Any] = {"width": width, "batch_size": USERS_AT_ONCE, "label": label, "inputs": samples.inputs}
    return collect_lists(scan, samples.histories, items.category_rows, **asked)


def exported_graph(exported: ExportedRetrieval) -> Retrieve:
    """The exported graph, asked through its ``debug`` signature: that of serving, with the number of items scored."""

    def retrieve(
        item_rows: NDArray[np.int64], cate_rows: NDArray[np.int64], **inputs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        found = exported.run("debug", item_ids=item_rows, cate_ids=cate_rows, **inputs)
        return found["top_k_item_ids"], found["items_scored"]

    return retrieve


def as_retrieve(retriever: BeamRetriever | ExactRetriever) -> Retrieve:
    """A retriever without its scores."""

    def retrieve(
        item_rows: NDArray[np.int64], cate_rows: NDArray[np.int64], **inputs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        found = retriever(item_rows, cate_rows, **inputs)
        return found.item_rows, found.items_scored

    return retrieve

"""Step `rewrite`: model, embeddings and index in, the servable retrieval graph out."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from data_prep.json_text import write_json
from nann.artifacts import StepResult
from nann.config import RewriteConfig
from nann.dataset import Dataset, Items, Samples
from nann.errors import ArtifactError
from nann.export import Catalogue, RetrievalParts, freeze_scorer, write_retrieval_graph, write_served_inputs
from nann.export.passes import kept_of_the_best, optimize_scorer, precompute
from nann.export.retrieval_graph import FUSED, META_NAME, NATIVE, PORTABLE, SAVED_MODELS, digest_of
from nann.export.warmup import write_warmup_requests
from nann.index import Embeddings, Graph, enter_at_untrained, load_embeddings, load_graph
from nann.memory.table import CorpusMemory, MemoryTable, load_memory
from nann.models import Scorer, first_layer_sums, load_max_length, load_model, prune_score_network
from nann.option_types import stored_params
from nann.reporting.model_card import CARD_NAME, model_card
from nann.retrieval import HistoryScorer, SearchParameters, plan_walk
from nann.steps.opening import open_step
from ops.packed_table import pack, unpack

REPORT_NAME = "rewrite_report.json"
RECALL_USERS = 20
FIT_USERS, FIT_BATCH, FIT_ITEMS, FIT_BEST = 256, 16, 4096, 64  # some 30,000 pairs
WARMUP_BATCHES = (1, 4, 16)
logger = logging.getLogger(__name__)


def rewrite(
    *, model: Path, dataset: Path, embeddings: Path, index: Path, converted_model: Path, config: RewriteConfig, overwrite: bool = False
) -> StepResult:
    """Freezes the scorer and exports the retrieval graph around it.

    Args:
        model: artifact of `train`.
        dataset: the artifact of `convert` the model was trained on.
        embeddings: the artifact of `extract` made with this model.
        index: the artifact of `build-index` made from these embeddings.
        converted_model: directory to write: ``frozen_graph.pb``, ``0.meta`` with its checkpoint ``0.index`` and ``0.data-*``,
            ``saved_model/portable/1``, ``native/1`` and ``fused/1``, ``inputs.json`` for a model that reads more than items,
            ``rewrite_report.json``, what each pass did to the scorer, and ``model_card.md``;
            contents in `docs/retrieval.md` and `docs/compression.md`.
        config: the search.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, or they do not belong together.
    """
    writer = open_step("rewrite", locals())
    if writer.is_current:
        return writer.current()
    scorer = load_model(model, allow_own=config.allow_own_models)
    corpus, graph, data = load_embeddings(embeddings), load_graph(index), Dataset(dataset)
    table, items = load_memory(model), data.items()
    catalogue = Catalogue(items.item_ids, items.category_rows, items.num_categories, items.category_ids)
    _require_fit(scorer, catalogue, corpus, graph)
    graph = enter_at_untrained(graph, items.train_counts[corpus.item_rows], items.category_rows[corpus.item_rows])
    try:
        search = SearchParameters(ef=config.ef, rounds=config.rounds, top_k=config.top_k, start_level=config.start_level)
        plan = plan_walk(graph, **vars(search))
    except ValueError as error:
        raise ArtifactError(f"the search cannot be exported: {error}") from error
    history_scorer = HistoryScorer(scorer, max_length=load_max_length(model))
    frozen, corpus, report = _served_scorer(history_scorer, data, items, corpus, config)
    with writer as directory:
        raw = frozen.SerializeToString(deterministic=True)
        (directory / "frozen_graph.pb").write_bytes(raw)
        write_json(directory / REPORT_NAME, report)
        parts = RetrievalParts(
            scorer=history_scorer,
            frozen=frozen,
            frozen_digest=digest_of(raw),
            catalogue=catalogue,
            embeddings=corpus,
            graph=graph,
            search=search,
            compiled=config.xla,
            table_precision=config.precision_of_tables,
            memory=None if table is None else _corpus_memory(table, corpus, items, config),
        )
        write_retrieval_graph(directory, parts)
        write_served_inputs(directory, dataset, scorer.request_inputs)
        _write_warmup(directory, items, scorer, history_scorer.max_length)
        forms = [form for form, path in SAVED_MODELS.items() if (directory / path).exists()]
        card = model_card(writer.artifacts, data, items, search=stored_params(config), forms=forms)
        (directory / CARD_NAME).write_text(card, encoding="utf-8")
        writer.metrics.update(
            {
                "num_items": len(corpus),
                "num_enter_points": len(graph.enter_points),
                "rounds": sum(level.rounds for level in plan.levels),
                "frozen_graph_bytes": len(raw),
                "meta_bytes": (directory / META_NAME).stat().st_size,
                "native": (directory / NATIVE).exists(),
                "fused": (directory / FUSED).exists(),
                "saved_model_bytes": sum(file.stat().st_size for file in (directory / PORTABLE).rglob("*") if file.is_file()),
            }
        )
    _log_passes(report)
    logger.info("exported a walk of %d rounds over %s items, top %d", writer.metrics["rounds"], f"{len(corpus):,}", config.top_k)
    return writer.result()


def _served_scorer(
    scorer: HistoryScorer, data: Dataset, items: Items, corpus: Embeddings, config: RewriteConfig
) -> tuple[tf.compat.v1.GraphDef, Embeddings, dict[str, Any]]:
    """The scorer pruned, frozen, simplified and stored as the options say; the corpus that goes with it, and what was done."""
    as_trained = freeze_scorer(scorer)
    report: dict[str, Any] = {"precision": config.precision, "table_precision": config.precision_of_tables}
    if config.prune:
        sums = _sums_of_users(scorer, data, items, corpus)
        report["pruned"] = prune_score_network(scorer.scorer, config.prune, sums)
        if sums is None:
            logger.warning("no more than %d validation users, so that nothing is fitted after pruning; convert with more", RECALL_USERS)
    frozen, report["passes"] = optimize_scorer(
        freeze_scorer(scorer) if config.prune else as_trained,
        num_items=len(items.item_ids) - 1,
        num_categories=items.num_categories,
        precision=config.precision,
        table_precision=config.precision_of_tables,
    )
    if config.prune or {config.precision, config.precision_of_tables} != {"float32"}:
        users = data.samples("validate", inputs=tuple(scorer.scorer.request_inputs)).take(slice(RECALL_USERS))
        report["kept_of_the_best"] = _recall_cost(as_trained, frozen, users, items, corpus, config)
    if config.precompute_mb:
        frozen, corpus, report["precompute"] = precompute(frozen, corpus, max_table_bytes=config.precompute_mb * 2**20)
    return frozen, corpus, report


def _corpus_memory(table: MemoryTable, corpus: Embeddings, items: Items, config: RewriteConfig) -> CorpusMemory:
    return CorpusMemory.of(
        table,
        item_rows=corpus.item_rows,
        category_rows=items.category_rows,
        num_categories=items.num_categories,
        entries=config.memory_entries,
    )


def _sums_of_users(scorer: HistoryScorer, data: Dataset, items: Items, corpus: Embeddings) -> NDArray[np.float32] | None:
    """Samples of what the score network takes: of some validation users, but those of `_recall_cost`, and each one's best and other items
    among some of the catalogue. None without such users.
    """
    samples = data.samples("validate", inputs=tuple(scorer.scorer.request_inputs)).take(slice(RECALL_USERS, RECALL_USERS + FIT_USERS))
    some = np.sort(np.random.default_rng(0).permutation(len(corpus))[:FIT_ITEMS])
    vectors, found = corpus.vectors[some], []
    for begin in range(0, len(samples.targets), FIT_BATCH):
        batch = samples.take(slice(begin, begin + FIT_BATCH))
        histories = batch.histories.astype("int64")
        categories = items.category_rows[histories].astype("int64")
        state = scorer.user_state(tf.constant(histories), tf.constant(categories), **batch.inputs)
        order = np.argsort(-np.asarray(scorer.score(state, tf.constant(vectors[np.newaxis]))), axis=1, kind="stable")
        chosen = np.concatenate([order[:, :FIT_BEST], order[:, FIT_BEST :: max(1, len(some) // FIT_BEST)]], axis=1)
        found.append(first_layer_sums(scorer.scorer, state, tf.constant(vectors[chosen])))
    return np.concatenate(found) if found else None


def _recall_cost(
    before: tf.compat.v1.GraphDef,
    after: tf.compat.v1.GraphDef,
    samples: Samples,
    items: Items,
    corpus: Embeddings,
    config: RewriteConfig,
) -> float | None:
    """Share of the exact top K that a changed scorer keeps, over some users; None without any."""
    histories = samples.histories.astype("int64")
    if not len(histories):
        return None
    categories = items.category_rows[histories].astype("int64")
    return kept_of_the_best(
        before,
        after,
        histories=histories,
        categories=categories,
        item_embs=corpus.vectors,
        changed_item_embs=unpack(pack(corpus.vectors, config.precision_of_tables)),
        top_k=config.top_k,
        inputs=samples.inputs,
    )


def _log_passes(report: dict[str, Any]) -> None:
    for entry in report["passes"]:
        nodes, size = entry["nodes"], entry["bytes"]
        logger.info(
            "%s: %d -> %d nodes, %s -> %s bytes, largest difference %.1e",
            entry["pass"],
            nodes["before"],
            nodes["after"],
            f"{size['before']:,}",
            f"{size['after']:,}",
            entry["max_difference"],
        )
    if "precompute" in report:
        made = report["precompute"]
        logger.info(
            "items' part computed ahead: %s; FLOPs per item %s -> %s, item table %s -> %s bytes",
            made["reason"] or ", ".join(made["tensors"]),
            *(f"{number:,.0f}" for number in (*made["flops_per_item"], *made["table_bytes"])),
        )
    if report.get("kept_of_the_best") is not None:
        logger.info("what is served keeps %.4f of the exact top K of the model as trained", report["kept_of_the_best"])


def _write_warmup(directory: Path, items: Items, scorer: Scorer, max_length: int) -> None:
    """Warm-up requests of made-up histories for each SavedModel, in batches of usual sizes: items drawn by their events, no user's own."""
    weights = np.cumsum(np.maximum(items.train_counts[1:], 1))
    rng, requests = np.random.default_rng(0), []
    for users in WARMUP_BATCHES:
        drawn = rng.integers(0, weights[-1], size=(users, max_length))
        histories = np.searchsorted(weights, drawn, side="right").astype(np.int64) + 1
        unknown = {"history": np.zeros_like(histories), "user": np.zeros_like(histories[:, :1])}
        inputs = {name: unknown[entry.side] for name, entry in scorer.request_inputs.items()}
        requests.append({"item_ids": histories, "cate_ids": items.category_rows[histories].astype(np.int64), **inputs})
    for form, path in SAVED_MODELS.items():
        if (directory / path).exists():
            write_warmup_requests(directory / path, requests, model=form, signature="serving_default")


def _require_fit(scorer: Scorer, catalogue: Catalogue, corpus: Embeddings, graph: Graph) -> None:
    """Refuses shapes that contradict each other."""
    if (scorer.num_items, scorer.num_categories) != (catalogue.num_items, catalogue.num_categories):
        raise ArtifactError(
            f"the model knows {scorer.num_items} items and {scorer.num_categories} categories, the dataset has {catalogue.num_items} and "
            f"{catalogue.num_categories}; run `nann train` on this dataset"
        )
    if corpus.dim != scorer.item_dim:
        raise ArtifactError(f"the embeddings have dim {corpus.dim}, the model scores dim {scorer.item_dim}; run `nann extract` again")
    if graph.num_nodes != len(corpus):
        raise ArtifactError(f"the index has {graph.num_nodes} nodes, but there are {len(corpus)} embeddings; run `nann build-index` again")
    if corpus.item_rows.min() < 1 or corpus.item_rows.max() > catalogue.num_items:
        raise ArtifactError(
            f"the embeddings name item rows {corpus.item_rows.min()}..{corpus.item_rows.max()}, the dataset has 1..{catalogue.num_items}; "
            "run `nann extract` again"
        )

"""Step `build-index`: item vectors in, the HNSW graph over them out."""

from __future__ import annotations

import logging
import time
from pathlib import Path

from nann.artifacts import StepResult
from nann.config import BuildIndexConfig
from nann.index import build_hnsw, build_threads, decode_hnsw, describe_graph, load_embeddings, save_graph, save_hnsw
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)


def build_index(*, embeddings: Path, index: Path, config: BuildIndexConfig, overwrite: bool = False) -> StepResult:
    """Builds the graph (HNSW, arXiv 1603.09320, squared Euclidean distance) and writes its neighbour lists.

    Args:
        embeddings: artifact of `extract`.
        index: directory to write: ``enter_points.npy`` [P] int64, per level l ``neighbors_level_{l}_values.npy`` int32 and
            ``neighbors_level_{l}_row_splits.npy`` [N + 1] int64 (all positions in ``item_embs.npy``), and hnswlib's ``hnsw.bin``.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: the embeddings are unusable, or ``index`` holds something else.
    """
    writer = open_step("build-index", locals())
    if writer.is_current:
        return writer.current()
    vectors = load_embeddings(embeddings).vectors
    with writer as directory:
        started, threads = time.monotonic(), build_threads(config.threads, len(vectors))
        hnsw = build_hnsw(vectors, m=config.m, ef_construction=config.ef_construction, threads=threads, seed=config.seed)
        built = time.monotonic()
        graph = decode_hnsw(hnsw, start_level=config.start_level)
        save_hnsw(hnsw, directory / "hnsw.bin")
        save_graph(graph, directory)
        description = describe_graph(graph)
        writer.metrics.update(description)
        writer.metrics["threads"] = threads
        logger.info("built in %.1f s with %d thread(s), decoded and saved in %.1f s", built - started, threads, time.monotonic() - built)
    logger.info(
        "%s items on %d levels, %d entry points, mean degree %.1f at level 0, %.2f %% of the items can be reached",
        f"{description['num_items']:,}",
        description["num_levels"],
        description["num_enter_points"],
        description["level_0_degree_mean"],
        100 * description["reachable_share"],
    )
    if description["reachable_share"] < 1:
        logger.warning("some items cannot be reached from the entry points; build with a larger --m or --ef-construction")
    return writer.result()

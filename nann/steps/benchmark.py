"""Step `benchmark`: latency and throughput of the exported graph under real histories."""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf

from nann.artifacts import ArtifactWriter, StepResult, open_artifact, require_same_ancestor
from nann.benchmarking.load import Load, run_closed_loop, summarize
from nann.config import BenchmarkConfig
from nann.errors import ArtifactError, NannError
from nann.export import open_graph
from nann.reporting.benchmark_page import benchmark_page
from nann.reporting.page import render
from nann.samples import load_items, load_samples

logger = logging.getLogger(__name__)


def benchmark(*, converted_model: Path, dataset: Path, benchmark: Path, config: BenchmarkConfig, overwrite: bool = False) -> StepResult:
    """Loads the exported SavedModel, sends it test users' histories from closed-loop clients, and writes latencies and a report.

    A request is one call of ``serving_default``: it includes turning arrays into tensors and back, as a client in the same process
    has to. Request n holds the users n B .. n B + B - 1 of a seeded permutation of the test users, repeated as often as needed.

    Args:
        converted_model: artifact of `rewrite`.
        dataset: the artifact of `convert` that the model was trained on; its test histories are the load.
        benchmark: directory to write: ``latency.json``, ``latencies.parquet`` (one row per answered request: ``request``, ``client``,
            ``start_s``, ``latency_ms``), ``report.html``.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the model belongs to another dataset, there are no test users, or ``benchmark`` holds
            something else.
        NannError: no request was answered.
    """
    model, data = open_artifact(converted_model, step="rewrite"), open_artifact(dataset, step="convert")
    require_same_ancestor("dataset", data, model)
    writer = ArtifactWriter(
        benchmark,
        step="benchmark",
        params=config.model_dump(),
        inputs={"converted_model": model, "dataset": data},
        overwrite=overwrite,
    )
    if writer.is_current:
        return writer.current()
    histories = load_samples(dataset, "test").histories.astype(np.int64)
    if not len(histories):
        raise ArtifactError(f"{dataset} has no test users; convert a longer log, or with a smaller --test-min-length")
    categories = load_items(dataset).category_rows.astype(np.int64)[histories]
    order = np.random.default_rng(config.seed).permutation(len(histories))

    with writer as directory:
        begin = time.perf_counter()
        exported = open_graph(converted_model, config.graph)
        load_seconds = time.perf_counter() - begin

        def request(number: int) -> None:
            users = order[np.arange(number * config.batch_size, (number + 1) * config.batch_size) % len(order)]
            exported.run("serving_default", item_ids=histories[users], cate_ids=categories[users])

        begin = time.perf_counter()
        request(0)  # traces and allocates; never part of the load, so that a warm-up of 0 seconds is honest too
        first_request_ms = 1000 * (time.perf_counter() - begin)
        logger.info("%d client(s), %g s of warm-up, %g s measured", config.threads, config.warmup_seconds, config.duration_seconds)
        load = run_closed_loop(
            request,
            threads=config.threads,
            warmup_seconds=config.warmup_seconds,
            duration_seconds=config.duration_seconds,
            counted_errors=(tf.errors.OpError,),
        )
        try:
            figures = summarize(load, batch_size=config.batch_size)
        except ValueError as error:
            raise NannError(f"{converted_model}: {error}; see the warnings above, and run `nann rewrite` again") from error
        figures |= {
            "threads": config.threads,
            "batch_size": config.batch_size,
            "num_histories": len(histories),
            "cpus": len(os.sched_getaffinity(0)),
            "load_seconds": load_seconds,
            "first_request_ms": first_request_ms,
            "peak_rss_bytes": peak_rss_bytes(),
        }
        (directory / "latency.json").write_text(json.dumps(figures, indent=1, sort_keys=True) + "\n", encoding="utf-8")
        _write_latencies(directory / "latencies.parquet", load)
        (directory / "report.html").write_text(render(benchmark_page(figures, load.latency_ms)), encoding="utf-8")
        writer.metrics.update(figures)
    return writer.result()


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, whatever ran in it before."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _write_latencies(path: Path, load: Load) -> None:
    columns = {"request": load.request, "client": load.client, "start_s": load.start_s, "latency_ms": load.latency_ms}
    pq.write_table(pa.table(columns), path, compression="zstd")

"""Step `benchmark`: latency and throughput of the exported graph under real histories."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
from numpy.typing import NDArray

from data_prep.cores import available_cores
from data_prep.json_text import write_json
from nann.artifacts import StepResult, open_artifact, require_same_ancestor
from nann.benchmarking.load import Load, join_loads, run_load, summarize
from nann.benchmarking.memory import peak_rss_bytes, rss_bytes
from nann.benchmarking.over_http import HttpForm, HttpRequestError
from nann.config import BenchmarkConfig, GraphForm
from nann.dataset import Dataset
from nann.errors import ArtifactError, NannError
from nann.export import open_graph, served_inputs
from nann.export.retrieval_graph import SAVED_MODELS
from nann.export.trace import trace_requests
from nann.option_types import stored_params
from nann.reporting.benchmark_page import benchmark_page
from nann.reporting.frame import write_page
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)


def benchmark(*, converted_model: Path, dataset: Path, benchmark: Path, config: BenchmarkConfig, overwrite: bool = False) -> StepResult:
    """Loads exported forms, sends each test users' histories in turn, and writes latencies and a report.

    A request is one call of ``serving_default``: it includes turning arrays into tensors and back, as a client in the same process
    has to. With ``config.url`` a server is asked, too, as one more form, ``http``.

    Request n holds the users n B .. n B + B - 1 of a seeded permutation of the test users, repeated as often as needed.

    Args:
        converted_model: artifact of `rewrite`; those of ``config.others`` are loaded beside it.
        dataset: the artifact of `convert` that the models were trained on; its test histories are the load.
        benchmark: directory to write: ``latency.json``, ``latencies.parquet`` (one row per answered request: ``graph``, ``request``,
            ``client``, ``start_s``, ``latency_ms``), ``report.html``.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: an input is unusable, the model belongs to another dataset, there are no test users, or ``benchmark`` holds
            something else.
        NannError: no request was answered.
    """
    others = {name: Path(path) for name, path in config.others.items()}
    models = {f"converted_model {name}": open_artifact(path, step="rewrite") for name, path in reversed(others.items())}
    writer = open_step("benchmark", locals(), more_inputs=models)
    for model in models.values():
        require_same_ancestor("dataset", writer.artifacts["dataset"], model)
    if writer.is_current:
        return writer.current()
    directories = {"": converted_model, **others}
    read = {name: tuple(served_inputs(directory)) for name, directory in directories.items()}
    data = Dataset(dataset)
    samples = data.samples("test", inputs=tuple(dict.fromkeys(name for names in read.values() for name in names)))
    histories = samples.histories.astype(np.int64)
    if not len(histories):
        raise ArtifactError(f"{dataset} has no test users; convert a longer log, or with a smaller --test-min-length")
    arrays = {"item_ids": histories, "cate_ids": data.items().category_rows.astype(np.int64)[histories], **samples.inputs}
    requests = {name: {key: arrays[key] for key in ("item_ids", "cate_ids", *names)} for name, names in read.items()}

    with writer as directory:
        forms = _open_forms(directories, requests, config)
        loads: dict[str, list[Load]] = {form: [] for form in forms}
        logger.info("%s: %d client(s), %g s measured", ", ".join(forms), config.threads, config.duration_seconds)
        for block in range(config.blocks):
            for form, exported in forms.items():
                loads[form].append(
                    run_load(
                        exported.request,
                        threads=config.threads,
                        warmup_seconds=0 if block else config.warmup_seconds,
                        duration_seconds=config.duration_seconds / config.blocks,
                        requests_per_s=config.requests_per_s,
                        counted_errors=(tf.errors.OpError, HttpRequestError),
                    )
                )
        joined = {form: join_loads(parts) for form, parts in loads.items()}
        common = {
            "threads": config.threads,
            "batch_size": config.batch_size,
            "requests_per_s": config.requests_per_s,
            "num_histories": len(histories),
            "cpus": available_cores(),
        }
        graphs = {form: {**_figures(converted_model, joined[form], config), **common, **forms[form].figures()} for form in forms}
        first = config.graphs[0]
        figures = {**graphs[first], "graph": first, "graphs": graphs, "peak_rss_bytes": peak_rss_bytes()}
        write_json(directory / "latency.json", figures)
        _write_latencies(directory / "latencies.parquet", joined)
        write_page(directory, benchmark_page(figures, joined[first].latency_ms), writer.artifacts, {"benchmark": stored_params(config)})
        writer.metrics.update(figures)
    return writer.result()


def _open_forms(
    directories: Mapping[str, Path], users: Mapping[str, Mapping[str, NDArray[np.int64]]], config: BenchmarkConfig
) -> dict[str, _Form | HttpForm]:
    """What is asked in turn, by name: the exported forms of all models, and the server, with the requests of the first of them."""
    requests = {name: _Requests(held, config) for name, held in users.items()}
    served: dict[str, _Form | HttpForm] = {}
    if config.url:  # first, since it is quickly seen whether it answers
        of_history = {name for name, entry in served_inputs(directories[""]).items() if entry["side"] == "history"}
        served["http"] = HttpForm(config.url, requests[""], of_history=frozenset(of_history | {"item_ids", "cate_ids"}))
    forms = {
        f"{name}/{form}" if name else form: _Form(path, form, requests[name], config)
        for name, path in directories.items()
        for form in dict.fromkeys(config.graphs)
    }
    return {**forms, **served}


class _Requests:
    """What request n holds.

    Args:
        users: [S, *] int64 by key of ``serving_default``, what the requests of S users hold.
        config: the options.
    """

    def __init__(self, users: Mapping[str, NDArray[np.int64]], config: BenchmarkConfig) -> None:
        self._users, self._batch_size = users, config.batch_size
        self._order = np.random.default_rng(config.seed).permutation(len(users["item_ids"]))

    def __call__(self, number: int) -> dict[str, NDArray[np.int64]]:
        size = self._batch_size
        users = self._order[np.arange(number * size, (number + 1) * size) % len(self._order)]
        return {key: values[users] for key, values in self._users.items()}


class _Form:
    """One exported form, loaded and asked once.

    Args:
        converted_model: artifact of `rewrite`.
        form: see `nann.export.open_graph`.
        requests: what request n holds.
        config: the options.
    """

    def __init__(self, converted_model: Path, form: GraphForm, requests: _Requests, config: BenchmarkConfig) -> None:
        self._requests = requests
        before, begin = rss_bytes(), time.perf_counter()
        self._exported = open_graph(converted_model, form, allow_own_models=config.allow_own_models)
        load_seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        self.request(0)  # traces and allocates; never part of the load, so that a warm-up of 0 seconds is honest too
        self._figures: dict[str, float] = {
            "load_seconds": load_seconds,
            "first_request_ms": 1000 * (time.perf_counter() - begin),
            "graph_rss_bytes": rss_bytes() - before,
        }
        if form in SAVED_MODELS and config.traced_requests:
            traced = map(requests, range(config.traced_requests + 1))
            self._figures |= trace_requests(converted_model / SAVED_MODELS[form], traced)

    def request(self, number: int) -> None:
        """Sends request n."""
        self._exported.run("serving_default", **self._requests(number))

    def figures(self) -> dict[str, float]:
        """What was measured outside the load."""
        return self._figures


def _figures(converted_model: Path, load: Load, config: BenchmarkConfig) -> dict[str, float | int]:
    try:
        return summarize(load, batch_size=config.batch_size)
    except ValueError as error:
        raise NannError(f"{converted_model}: {error}; see the warnings above, and run `nann rewrite` again") from error


def _write_latencies(path: Path, loads: Mapping[str, Load]) -> None:
    columns: dict[str, Any] = {"graph": [form for form, load in loads.items() for _ in load.request]}
    for name in ("request", "client", "start_s", "latency_ms"):
        columns[name] = np.concatenate([getattr(load, name) for load in loads.values()])
    pq.write_table(pa.table(columns), path, compression="zstd")

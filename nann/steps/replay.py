"""Step `replay`: a log walked window by window, and how well each way of retraining answers what users do next."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from data_prep.durable import write_file
from data_prep.json_text import write_json
from data_prep.option_values import unix_seconds
from nann.artifacts import StepResult
from nann.config import ReplayConfig
from nann.errors import ArtifactError
from nann.replay.figures import choose_best, recall_parts, simple_ranks
from nann.replay.kept import answers_of, read_kept, simple_of
from nann.replay.log import Questions, ReplayLog, first_events, held_out_users, load_replay_log
from nann.replay.models import WindowModel, make_model
from nann.replay.prior import HOUR, log_prior
from nann.replay.scan import ScorerScan
from nann.reporting.frame import write_page
from nann.reporting.replay_page import replay_page
from nann.steps.opening import open_step

logger = logging.getLogger(__name__)

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5)
DEFAULT_WEIGHT = 0.5
PROBE_AGES = (1, 3, 7)  # windows


@dataclass(frozen=True)
class Window:
    """One moment of training, and its users.

    Attributes:
        number: from 0.
        moment: unix seconds; training looks at nothing from here on.
        log_prior: [N + 1] float32, known at the moment.
        questions: of all users.
        held_out: of users that never train.
    """

    number: int
    moment: int
    log_prior: Any
    questions: Questions
    held_out: Questions


def replay(*, dataset: Path, replay: Path, config: ReplayConfig, overwrite: bool = False) -> StepResult:
    """Walks a log: at the end of each window trains, then asks for the first event of users in the next one.

    Every choice at a moment is made from what was known then: the prior and its mixture, the weight of the score against it (by the windows
    before), and the passes of training from scratch (by the first windows). A walk that was killed goes on with the method and window it
    was at.

    Args:
        dataset: artifact of `convert` in the `user` layout, without held-out users.
        replay: directory to write: ``replay.json`` (a record per window and method), ``report.html``.
        config: the options.
        overwrite: replace a differing artifact.

    Raises:
        ArtifactError: the dataset is unusable, or too short for a window; or ``replay`` holds something else.
    """
    params = config.model_dump(mode="json")
    writer = open_step("replay", locals(), params=params)
    if writer.is_current:
        return writer.current()
    log = load_replay_log(dataset)
    moments = window_ends(log, config)
    with writer as directory:
        walk = _Walk(log, config, directory)
        for number, moment in enumerate(moments):
            walk.visit(number, moment, len(moments))
        result = {"config": params, "windows": walk.records}
        write_json(directory / "replay.json", result)
        write_page(directory, replay_page(result), writer.artifacts, {"replay": params})
        for work in ("work", "models"):
            shutil.rmtree(directory / work, ignore_errors=True)
        writer.metrics.update(_summary(walk.records, config))
    return writer.result()


def window_ends(log: ReplayLog, config: ReplayConfig) -> list[int]:
    """Moments at which models are made: every window's end that has at least half a window of events before and a whole one after it.

    Raises:
        ArtifactError: there is none.
    """
    length = round(config.window_hours * HOUR)
    first, last = int(log.times.min()), int(log.times.max())
    begin = unix_seconds(config.since) if config.since else -(-(first + length // 2) // length) * length
    end = min(unix_seconds(config.until) if config.until else last, last - length // 2)
    moments = [moment for moment in range(begin, end + 1, length) if moment > first]
    if not moments:
        raise ArtifactError(
            f"a window of {config.window_hours:g} h needs events before and after its end, but the log spans {(last - first) / HOUR:.1f} h "
            f"from {first} to {last} (unix seconds); choose --since, --until and --window-hours within"
        )
    return moments


class _Walk:
    """Windows one after the other; what is done lies in ``work/`` and is not done again."""

    def __init__(self, log: ReplayLog, config: ReplayConfig, directory: Path) -> None:
        self._log, self._config, self._directory = log, config, directory
        self._length = round(config.window_hours * HOUR)
        self._left_out = held_out_users(int(log.users[-1]) + 1, config.held_out_share, config.seed)
        self._windows: list[Window] = []
        self.records: list[dict[str, Any]] = []
        self._forms = simple_of(config.ks), answers_of(config.ks, WEIGHTS)
        (directory / "work").mkdir(exist_ok=True)

    def visit(self, number: int, moment: int, count: int) -> None:
        """Trains, asks and records one window, all methods."""
        config, log = self._config, self._log
        ask: dict[str, Any] = {"length": config.max_length, "min_events": config.min_events, "seed": config.seed}
        questions = first_events(log, moment, moment + self._length, max_users=config.max_users, **ask)
        held_out = first_events(
            log, moment, moment + self._length, max_users=config.held_out_questions, among=self._left_out, **{**ask, "min_events": 1}
        )
        self._windows.append(Window(number, moment, log_prior(log, moment, self._length), questions, held_out))
        begin = time.perf_counter()
        record: dict[str, Any] = {"number": number, "moment": moment, "users": len(questions), "methods": {}}
        record["simple"] = self._kept(f"{number}-simple", self._simple, self._forms[0])
        for method in config.methods:
            if method == "scratch" and (number + 1) % config.scratch_every and number:
                continue
            record["methods"][method] = self._kept(f"{number}-{method}", lambda method=method: self._measure(method), self._forms[1])
            shown = " ".join(f"@{k} {record['methods'][method]['recall'][f'recall@{k}'] or 0:.4f}" for k in config.ks)
            logger.info("window %d of %d, %s: recall %s", number + 1, count, method, shown)
        self.records.append(record)
        logger.info("window %d of %d done after %.0f s", number + 1, count, time.perf_counter() - begin)

    def _kept(self, name: str, make: Any, form: Any) -> Any:
        path = self._directory / "work" / f"{name}.json"
        if not path.is_file():
            write_file(path, json.dumps(make()))
        return read_kept(path, form)

    def _parts(self, window: Window, ranks: Any) -> dict[str, Any]:
        before, now = (self._log.items_before(time) for time in (window.moment - self._length, window.moment))
        return recall_parts(ranks, window.questions.targets, self._config.ks, items_before=before, items_now=now)

    def _simple(self) -> dict[str, Any]:
        window = self._windows[-1]
        ranks = simple_ranks(self._log, window.moment, window.questions, max(self._config.ks))
        return {name: self._parts(window, found) for name, found in ranks.items()}

    def _measure(self, method: str) -> dict[str, Any]:
        window = self._windows[-1]
        if method != "scratch":
            return self._answers(method, self._warm(method, window), self._config.warm_epochs)
        tried = self._tried_epochs()
        untried = len(tried) < self._config.choose_windows
        epochs = self._config.scratch_epochs if untried else (choose_best(tried, None),)
        answers = {passes: self._answers(method, self._scratch(window, passes), passes) for passes in epochs}
        quality = {passes: _quality(answer["recall"], self._config) for passes, answer in answers.items()}
        best = choose_best([quality], None)
        return {**answers[best], "epochs_tried": {str(passes): value for passes, value in quality.items()}} if untried else answers[best]

    def _tried_epochs(self) -> list[dict[int, float]]:
        records = [record["methods"]["scratch"] for record in self.records if "scratch" in record["methods"]]
        return [{int(passes): value for passes, value in r["epochs_tried"].items()} for r in records if "epochs_tried" in r]

    def _scratch(self, window: Window, epochs: float) -> WindowModel:
        return self._make("scratch", window, since=0, epochs=epochs, embedding="static", earlier=None)

    def _warm(self, method: str, window: Window) -> WindowModel:
        last = self._directory / "models" / f"{method}-{window.number - 1}"
        first = window.number == 0
        model = self._make(
            f"{method}-{window.number}",
            window,
            since=0 if first else self._windows[-2].moment,
            epochs=self._config.warm_epochs,
            embedding=method.removeprefix("warm-"),
            earlier=None if first else last,
        )
        # The one before that was needed only as long as this window's could still be lost.
        shutil.rmtree(self._directory / "models" / f"{method}-{window.number - 2}", ignore_errors=True)
        return model

    def _make(self, name: str, window: Window, *, since: int, epochs: float, embedding: str, earlier: Path | None) -> WindowModel:
        return make_model(
            self._log,
            window.moment,
            since=since,
            epochs=epochs,
            embedding=embedding,
            kept_since=window.moment - round(self._config.evict_windows * self._length),
            config=self._config,
            left_out=self._left_out,
            directory=self._directory / "models" / name,
            earlier=earlier,
        )

    def _answers(self, method: str, model: WindowModel, epochs: float) -> dict[str, Any]:
        window = self._windows[-1]
        scan = ScorerScan(model.scorer, self._log.category_rows, num_items=self._log.items_before(window.moment))
        parts = {weight: self._parts(window, ranks) for weight, ranks in scan.ranks(window.questions, window.log_prior, WEIGHTS).items()}
        past = [record["methods"][method]["weights"] for record in self.records if method in record["methods"]]
        weight = float(choose_best(past, str(DEFAULT_WEIGHT)))
        return {
            **model.figures,
            "epochs": epochs,
            "weight": weight,
            "recall": parts[weight],
            "prior_alone": parts[0.0],
            "weights": {str(weight): _quality(part, self._config) for weight, part in parts.items()},
            "held_out": self._held_out(model),
        }

    def _held_out(self, model: WindowModel) -> dict[str, dict[str, float]]:
        """Age in windows -> recall@K on the questions of that earlier window, asked as they were then."""
        figures = {}
        for age in (0, *PROBE_AGES):
            if age >= len(self._windows):
                continue
            then = self._windows[-1 - age]
            if not len(then.held_out):
                continue
            scan = ScorerScan(model.scorer, self._log.category_rows, num_items=self._log.items_before(then.moment))
            ranks = scan.ranks(then.held_out, then.log_prior, (1.0,))[1.0]
            known = then.held_out.targets <= self._log.items_before(then.moment)
            if known.any():
                found = {f"recall@{k}": float((ranks[known] < k).mean()) for k in self._config.ks}
                figures[str(age)] = {**found, "users": int(known.sum())}
        return figures


def _quality(part: Mapping[str, Any], config: ReplayConfig) -> float:
    return float(sum(part[f"recall@{k}"] or 0.0 for k in config.ks))


def _summary(records: list[dict[str, Any]], config: ReplayConfig) -> dict[str, Any]:
    """Means over the users of the windows that all methods were measured in, and the cost of the last of them."""
    common = [record for record in records if all(method in record["methods"] for method in config.methods)]
    summary: dict[str, Any] = {"windows": len(records), "windows_compared": len(common)}
    for method in config.methods:
        own = [record["methods"][method] for record in common]
        users = [entry["recall"]["users"] for entry in own]
        for k in config.ks:
            recalls = [entry["recall"][f"recall@{k}"] or 0.0 for entry in own]
            summary[f"{method}.recall@{k}"] = float(np.average(recalls, weights=users)) if sum(users) else None
        if own:
            summary[f"{method}.wall_seconds_last"] = own[-1]["wall_seconds"]
            summary[f"{method}.table_bytes_last"] = own[-1]["table_bytes"]
    return summary

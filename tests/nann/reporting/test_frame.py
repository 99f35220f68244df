"""What every page has: data, model and options at its head, every option and digest at its end."""

from __future__ import annotations

import dataclasses
from typing import Any

from nann.config import EvaluateConfig, SweepConfig
from nann.option_types import stored_params
from nann.reporting.frame import changed_options, framed
from nann.reporting.page import Page, render
from nann.reporting.run_page import RunNumbers
from nann.train_config import TrainConfig


def test_only_options_that_are_no_defaults_are_named() -> None:
    assert changed_options({"evaluate": stored_params(EvaluateConfig()), "train": stored_params(TrainConfig())}) == ""
    options = {
        "train": stored_params(TrainConfig(max_steps=60, scorer="two-sided"), "teacher"),
        "sweep": stored_params(SweepConfig(rungs=(0.5, 1.0))),
        "evaluate": stored_params(EvaluateConfig(ks=(5, 20), baselines=False)),
    }
    assert changed_options(options) == "train: max_steps 60, scorer two-sided; sweep: rungs 0.5,1.0; evaluate: baselines false, ks 5,20"
    long = changed_options({"evaluate": stored_params(EvaluateConfig(ks=tuple(range(1, 60))))})
    assert long.endswith("...")
    assert len(long) < 90


def test_a_page_names_data_model_options_and_code(run: RunNumbers, reader: Any) -> None:
    artifacts = dict(run.artifacts)
    config = stored_params(EvaluateConfig(ks=(7,)))
    page = framed(Page("t", "s"), artifacts, {"evaluate": config}, meta={**run.meta, "time_range": [0, 90_000]})
    facts = dict(page.facts)
    digest = artifacts["dataset"].digest[:12]
    assert facts["data"] == f"a&b.csv: 5,000 events of 300 users, 1,000 items, 1970-01-01 00:00 to 1970-01-02 01:00 UTC (dataset {digest})"
    assert artifacts["model"].digest[:12] in facts["model"]
    assert "evaluate: ks 7" in facts["options"]
    assert facts["code"] == "0.1 (cdcdcdcdcdcd)"
    found = reader(render(page))
    for part in ("evaluate: options", "train: options", "<b>bold</b>", artifacts["index"].digest, "curve_users"):
        assert part in found.text
    alone = {"dataset": artifacts["dataset"], "converted_model": artifacts["converted_model"]}
    alone["converted_model"] = dataclasses.replace(
        alone["converted_model"], manifest={**alone["converted_model"].manifest, "lineage": {"model": "fe" * 32}}
    )
    assert dict(framed(Page("t", "s"), alone, meta=run.meta).facts)["model"].endswith("of model fefefefefefe")

"""The step `seeds`: means over seeds, the best simple method, resuming."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from nann.config import BuildIndexConfig, EvaluateConfig, ExtractConfig, RewriteConfig, SeedsConfig, StepConfig, TrainConfig
from nann.errors import ArtifactError
from nann.steps.seeds import seeds

STEPS: dict[str, StepConfig] = {
    "train": TrainConfig(memory="none", scorer="two-sided", emb_dim=8, max_steps=30, validations=0, xla=False),
    "extract": ExtractConfig(),
    "build-index": BuildIndexConfig(m=4, ef_construction=40),
    "rewrite": RewriteConfig(ef=(30, 20), rounds=(4, 1), top_k=20),
    "evaluate": EvaluateConfig(ks=(5, 20), curve_users=0, decays=(0.8,), recent_hours=(24,)),
}
BASELINES = ("popularity", "popularity_recent", "category_popularity", "repeat_last", "item_cf", "vsknn", "sequential_rules")
CONFIG = SeedsConfig(seeds=(3, 8), ks=(20,), resamples=200)


def test_means_and_comparisons_are_those_of_the_seeds(small_dataset: Path, tmp_path: Path) -> None:
    path = tmp_path / "seeds"
    result = seeds(dataset=small_dataset, seed_runs=path, steps=STEPS, config=CONFIG)
    found = json.loads((path / "seeds.json").read_text())
    tables = [pq.read_table(path / f"seed-{seed}" / "evaluation" / "users.parquet") for seed in (3, 8)]

    def recall(table, column: str) -> float:
        ranks = table[f"rank_{column}"].to_numpy()
        return float(np.mean((ranks > 0) & (ranks <= 20)))

    figure = found["figures"]["recall_all@20"]
    assert figure["values"] == pytest.approx([recall(table, "all") for table in tables])
    assert figure["mean"] == pytest.approx(np.mean(figure["values"]))
    assert figure["deviation"] == pytest.approx(np.std(figure["values"], ddof=1))
    simple = {name: recall(tables[0], name) for name in BASELINES}
    assert {name: compared["all"]["recall@20"]["mean_b"] for name, compared in found["baselines"].items()} == pytest.approx(simple)
    best = found["best_baseline"]
    assert simple[best["name@20"]] == best["recall@20"] == max(simple.values())
    served = found["figures"]["recall_retrieval@20"]["mean"]
    for lists, mean in (("all", figure["mean"]), ("retrieval", served)):
        paired = found["baselines"][best["name@20"]][lists]["recall@20"]
        assert paired["difference"] == pytest.approx(mean - max(simple.values()))
        assert paired["interval"][0] <= paired["difference"] <= paired["interval"][1]
        ratio = found["ratio_to_best_baseline@20"][lists]
        assert ratio == {"ratio": paired["ratio"], "interval": paired["ratio_interval"]}
        assert ratio["ratio"] == pytest.approx(mean / max(simple.values()))
    assert result.metrics["ratio@20"] == pytest.approx(served / max(simple.values()))
    assert result.metrics["best_baseline"] == best
    models = [json.loads((path / f"seed-{seed}" / "model" / "config.json").read_text())["train"]["seed"] for seed in (3, 8)]
    assert models == [3, 8]
    page = (path / "report.html").read_text(encoding="utf-8")
    for part in ("seeds 3, 8", f"{result.metrics['ratio@20']:.3f} ×", f"mean recall@20 {served:.3f}", "max_steps 30", "log.csv"):
        assert part in page.replace("<wbr>", "")
    assert seeds(dataset=small_dataset, seed_runs=path, steps=STEPS, config=CONFIG).reused


def test_what_cannot_be_compared_is_refused_before_any_work(small_dataset: Path, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"at K = \(50,\) are asked for"):
        seeds(dataset=small_dataset, seed_runs=tmp_path / "seeds", steps=STEPS, config=SeedsConfig(ks=(50,)))
    without = STEPS | {"evaluate": EvaluateConfig(ks=(5, 20), baselines=False)}
    with pytest.raises(ArtifactError, match="leaves the baselines out"):
        seeds(dataset=small_dataset, seed_runs=tmp_path / "seeds", steps=without, config=CONFIG)
    with pytest.raises(ValueError, match="must differ"):
        SeedsConfig(seeds=(1, 1))
    assert list(tmp_path.iterdir()) == []

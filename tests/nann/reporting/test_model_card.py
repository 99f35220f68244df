"""``model_card.md`` says what the artifacts say."""

from typing import Any

from nann.artifacts import open_artifact
from nann.dataset import Dataset
from nann.reporting.model_card import CARD_NAME, model_card


def test_a_converted_model_has_a_card_of_what_it_was_made_of(trained_run: Any) -> None:
    converted = open_artifact(trained_run.root / "converted_model", step="rewrite")
    assert CARD_NAME in converted.manifest["files"]
    card = (converted.path / CARD_NAME).read_text(encoding="utf-8")
    sections = [line[3:] for line in card.splitlines() if line.startswith("## ")]
    assert sections == ["Model", "Data", "Figures", "Limits", "Intended use"]
    dataset, model = (open_artifact(trained_run.root / name, step=step) for name, step in (("dataset", "convert"), ("model", "train")))
    meta, counts = Dataset(dataset.path).meta, trained_run.items.train_counts[1:]
    for line in (
        "| scorer | `sequence`: a causal transformer over the history, inner product |",
        f"| memory of pairs | {model.metrics['memory_entries']:,} entries |",
        "| search | ef 60, 40, rounds 3, 1, 50 items per answer |",
        f"| made from | `log.csv` (sha256 `{dataset.manifest['inputs']['log:log.csv'][:12]}`) |",
        "| window | 2017-11-24 16:02 to 2017-12-03 15:59 UTC |",
        f"| rows, events | {meta['num_rows']:,}, {meta['num_events']:,} |",
        f"| recall_all@50 | {model.metrics['recall_all@50']:.4g} |",
    ):
        assert line in card.splitlines()
    assert f"- {(counts == 0).sum():,} items ({(counts == 0).mean():.1%}) have no event of a training user" in card


def test_what_an_artifact_does_not_say_is_unknown(trained_run: Any) -> None:
    """Datasets of earlier versions, and models without a memory; and no text of an artifact leaves its cell."""
    artifacts = {name: open_artifact(trained_run.root / name, step=step) for name, step in (("dataset", "convert"), ("model", "train"))}
    data = Dataset(artifacts["dataset"].path)
    for name in ("time_range", "num_rows", "num_users_per_split"):
        data.meta.pop(name)
    artifacts["dataset"].manifest["inputs"] = {"log:a|b\n## c": "0" * 64}
    for name in ("memory_entries", "steps"):
        artifacts["model"].manifest["metrics"].pop(name)
    search = open_artifact(trained_run.root / "converted_model", step="rewrite").params
    card = model_card(artifacts, data, trained_run.items, search=search, forms=["portable"])
    assert "| memory of pairs | none |" in card
    assert "| window | unknown |" in card
    assert "| users (train, validate, test) | unknown, unknown, unknown |" in card
    assert "| made from | `a\\|b ## c` (sha256 `000000000000`) |" in card
    assert "pairs of the memory" not in card

"""``model_card.md`` of a converted model: what it was made from, what is known of its quality, its limits, and what it is for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np

from nann.artifacts import Artifact
from nann.dataset import Dataset, Items
from nann.families import FAMILIES

CARD_NAME = "model_card.md"
Rows = Iterable[tuple[str, Any]]


def model_card(artifacts: Mapping[str, Artifact], data: Dataset, items: Items, *, search: Mapping[str, Any], forms: Iterable[str]) -> str:
    """The card, as Markdown; equal inputs give equal bytes.

    Args:
        artifacts: ``dataset`` and ``model``.
        data: the dataset.
        items: its catalogue.
        search: options of `rewrite`.
        forms: names of the exported forms.
    """
    dataset, model = artifacts["dataset"], artifacts["model"]
    sections = (
        ("Model", _table(_model_rows(dataset, model, search, forms))),
        ("Data", _table(_data_rows(dataset, data))),
        ("Figures", _figures(model)),
        ("Limits", _limits(items, model, search)),
        ("Intended use", _use()),
    )
    head = "# Model card\n\nWritten by `nann rewrite` from the artifacts that the model was made of.\n"
    return head + "".join(f"\n## {title}\n\n{text}\n" for title, text in sections)


def _model_rows(dataset: Artifact, model: Artifact, search: Mapping[str, Any], forms: Iterable[str]) -> Rows:
    family = str(model.params["scorer"])
    yield "scorer", f"`{family}`" + (f": {FAMILIES[family].summary}" if family in FAMILIES else ", a class of its owner's")
    yield "memory of pairs", _number(model.metrics["memory_entries"]) + " entries" if "memory_entries" in model.metrics else "none"
    for name in ("emb_dim", "encoders", "seed"):
        if name in model.params:
            yield name, model.params[name]
    yield "steps of training", _number(model.metrics.get("steps"))
    yield "search", f"ef {_list(search['ef'])}, rounds {_list(search['rounds'])}, {search['top_k']} items per answer"
    yield "precision", f"{search['precision']}; tables {search['table_precision']}"
    yield "exported forms", ", ".join(forms)
    yield "version of the code", model.manifest["code_version"]
    yield "sha256 of the dataset's and the model's manifest", f"`{dataset.digest[:12]}`, `{model.digest[:12]}`"


def _data_rows(dataset: Artifact, data: Dataset) -> Rows:
    meta, users = data.meta, data.meta.get("num_users_per_split", {})
    made_from = [f"`{name.removeprefix('log:')}` (sha256 `{digest[:12]}`)" for name, digest in sorted(dataset.manifest["inputs"].items())]
    yield "made from", ", ".join(made_from)
    yield "window", _window(meta)
    yield "rows, events", f"{_number(meta.get('num_rows'))}, {_number(meta.get('num_events'))}"
    dropped = {**meta.get("dropped_rows", {}), **meta.get("filtered_rows", {})}
    yield "rows left out", ", ".join(f"{_number(count)} {reason}" for reason, count in sorted(dropped.items())) or "none"
    yield "users (train, validate, test)", ", ".join(_number(users.get(split)) for split in ("train", "validate", "test"))
    yield "items, categories", f"{_number(meta['num_items'])}, {_number(meta['num_categories'])}"
    yield "kinds of events", _list(dataset.params.get("behaviors", ())) or "all that the log has, alike"
    yield "history", f"the newest {meta['max_length']} events of a user"


def _figures(model: Artifact) -> str:
    found = {name: value for name, value in model.metrics.items() if name.startswith(("recall", "loss")) and isinstance(value, float)}
    rows = _table((name, f"{value:.4g}") for name, value in sorted(found.items()))
    warnings = "".join(f"\n- {warning}" for warning in model.metrics.get("warnings", ()))
    return (
        "On validation users, by an exact scan, while the model was trained; they chose the weights that were kept.\n\n"
        + rows
        + "\n\nWhat the exported graph finds for test users, beside simple methods, is in `evaluation/metrics.json` of the run "
        "(`nann evaluate`), its latency in `benchmark/latency.json` (`nann benchmark`)."
        + (f"\n\nWarnings of the training:\n{warnings}" if warnings else "")
    )


def _limits(items: Items, model: Artifact, search: Mapping[str, Any]) -> str:
    counts = np.sort(items.train_counts[1:])[::-1]
    untrained, total = int((counts == 0).sum()), max(1, int(counts.sum()))
    share = counts[: max(1, len(counts) // 100)].sum() / total
    rare = ", and pairs of the memory that were seen once," if "memory_entries" in model.metrics else ""
    lines = [
        f"It knows what users did in the window above, and {_number(len(counts))} items. An item that is not among them is never found; "
        "other ids in a history are left out.",
        f"{_number(untrained)} items ({untrained / max(1, len(counts)):.1%}) have no event of a training user: they are placed by their "
        "category and an untrained vector alone.",
        f"The most frequent 1 % of the items have {share:.1%} of the training events. The model learns from what was shown and chosen, not "
        "from what might have been.",
        "All users without a known item in their history get the same answer.",
        f"The search is approximate: it may miss an item that an exact scan would find. It returns at most {search['top_k']}.",
        "Scores order the items of one answer. They are no probabilities, and not to be compared between users or versions.",
        f"It holds no id of a user. Vectors of rare items{rare} may still stem from one user's behaviour.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _use() -> str:
    return (
        "To choose some hundred candidates for a user, for a list or for a ranking model after it, on a catalogue and users like those of "
        "the log. Not for decisions about people, and not for other catalogues. Train it anew as the log moves on, let `nann gate` compare "
        "it with the model in service, and ask `nann explain` about an answer that surprises."
    )


def _window(meta: Mapping[str, Any]) -> str:
    if not meta.get("time_range"):
        return "unknown"
    begin, end = (datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M") for seconds in meta["time_range"])
    return f"{begin} to {end} UTC"


def _table(rows: Rows) -> str:
    return "| | |\n|---|---|\n" + "\n".join(f"| {name} | {_cell(value)} |" for name, value in rows)


def _cell(value: Any) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _list(values: Iterable[Any]) -> str:
    return ", ".join(map(str, values))


def _number(value: Any) -> str:
    return "unknown" if value is None else f"{value:,}"

"""The table of components in docs/cluster.md, generated from their signatures; this file as a program writes it anew."""

import importlib
import re
from pathlib import Path

from nann.steps.table import RETRAINING_STEPS

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
COMMON = {"metrics", "summary", "page", "config", "input_digest", "code_digest", "run_dir", "start_from", "overwrite"}


def table() -> str:
    """A row per component: what it is for, its artifacts and its own parameters."""
    lines = ["| component | what it does | reads | writes | parameters |", "|---|---|---|---|---|"]
    for step in (*(step.name for step in RETRAINING_STEPS), "train on workers", "summarise"):
        module = {"train on workers": "train_workers"}.get(step, step.replace("-", "_"))
        name = {"train_workers": "train"}.get(module, module)
        spec = getattr(importlib.import_module(f"components.{module}"), name).component_spec

        def shown(entries: dict) -> str:
            return ", ".join(f"`{key}` ({value.type.split('@')[0].split('.')[-1]})" for key, value in entries.items() if key not in COMMON)

        inputs = spec.inputs or {}
        artifacts = {key: value for key, value in inputs.items() if value.type.startswith("system.")}
        parameters = {key: value for key, value in inputs.items() if key not in artifacts}
        outputs = {key: value for key, value in (spec.outputs or {}).items() if key != "Output"}
        what = spec.description.split(". ")[0].rstrip(".")
        lines.append(f"| `{step}` | {what} | {shown(artifacts)} | {shown(outputs)} | {shown(parameters)} |")
    return "\n".join(lines)


def filled(text: str) -> str:
    return re.sub(r"(?s)(<!-- components -->\n).*?(<!-- end -->)", lambda found: f"{found.group(1)}{table()}\n{found.group(2)}", text)


def test_the_table_is_up_to_date() -> None:
    assert PAGE.read_text() == filled(PAGE.read_text())


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text()))

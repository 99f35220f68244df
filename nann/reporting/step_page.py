"""The page of a step that has no pictures of its own: its numbers, parameters, inputs and files, from the manifest."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nann.manifests import read_manifest
from nann.reporting.page import PAGE_NAME, Page, PageTable, Section, render
from nann.reporting.text import bytes_text, number_text


def page_of(artifact: Path) -> str:
    """The page of an artifact as HTML: its own ``report.html``, or one made from its manifest."""
    own = artifact / PAGE_NAME
    if own.is_file():
        return own.read_text(encoding="utf-8")
    return render(step_page(read_manifest(artifact, step=artifact.name)))


def step_page(manifest: Mapping[str, Any]) -> Page:
    """A page with what an artifact's manifest holds."""
    files = [(name, bytes_text(entry["size_bytes"]), entry["sha256"][:12]) for name, entry in sorted(manifest["files"].items())]
    origin = [(name, digest[:12]) for name, digest in sorted(manifest["lineage"].items())]
    params = list(_rows(manifest["params"]))
    return Page(
        title=manifest["step"],
        subtitle=f"code {manifest['code_version']} ({manifest['code_digest'][:12]})",
        sections=[
            Section("numbers", "Numbers", tables=[PageTable(("number", "value"), list(_rows(manifest["metrics"])))]),
            Section("parameters", "Parameters", tables=[PageTable(("parameter", "value"), params, text_columns=2)]),
            Section("origin", "Made from", tables=[PageTable(("input or ancestor", "sha256"), origin, text_columns=2)]),
            Section("files", "Files", tables=[PageTable(("file", "size", "sha256"), files)]),
        ],
    )


def _rows(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _rows(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield f"{prefix}{name}", number_text(value)
        else:
            yield f"{prefix}{name}", value if isinstance(value, str) else json.dumps(value)

"""Manifests: how one is read, and which files of an artifact it lists."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nann.contents import read_json
from nann.forms import Manifest
from nann.placing import MANIFEST_NAME

# Times of the making, which differ between equal works: they lie beside what is listed, for people, and no step reads them.
MEASURED = ("events", "training_speed.json")


def listed_files(directory: Path) -> set[str]:
    """All files by path below the directory, but the manifest itself, hidden ones, and `MEASURED`."""
    found = set()
    for root, directories, names in os.walk(directory):
        directories[:] = [name for name in directories if not name.startswith(".")]
        found |= {os.path.relpath(os.path.join(root, name), directory) for name in names if not name.startswith(".")}
    return {name for name in found if name != MANIFEST_NAME and set(name.split(os.sep)).isdisjoint(MEASURED)}


def read_manifest(directory: Path, *, step: str) -> dict[str, Any]:
    """The manifest of an artifact of a step, which is not verified here.

    Raises:
        ArtifactError: it is missing or no manifest.
    """
    manifest: dict[str, Any] = read_json(directory / MANIFEST_NAME, Manifest, "a manifest", step=step)
    return manifest

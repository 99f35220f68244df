"""Examples and benchmarks name only what there is: most of them run in no quick test."""

import ast
import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipelines", "components", "nann", "data_prep", "ops")
SOURCES = sorted(path for folder in ("examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imported_names_exist(path: Path) -> None:
    missing, graph_mode = [], []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or (node.module or "").split(".")[0] not in PACKAGES or node.level:
            continue
        if node.module == "ops.v1":  # which turns eager mode off, so not here
            graph_mode += [f"{node.module}.{alias.name}" for alias in node.names]
            continue
        module = importlib.import_module(node.module)
        for alias in node.names:
            if hasattr(module, alias.name):
                continue
            try:
                importlib.import_module(f"{node.module}.{alias.name}")
            except ImportError:
                missing.append(f"{node.module}.{alias.name}")
    assert missing == []
    if graph_mode:
        code = "import pkgutil, sys; [pkgutil.resolve_name(name) for name in sys.argv[1:]]"
        subprocess.run([sys.executable, "-c", code, *graph_mode], cwd=ROOT, check=True, timeout=120)


def test_the_keras_example_by_fit_and_by_hand() -> None:
    spec = importlib.util.spec_from_file_location("clicks", ROOT / "examples" / "keras" / "clicks.py")
    assert spec is not None
    assert spec.loader is not None
    clicks = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(clicks)
    by_fit, by_hand = (clicks.main(by_hand=by_hand, samples=1024, epochs=2) for by_hand in (False, True))
    np.testing.assert_allclose(by_fit, by_hand, atol=1e-5)

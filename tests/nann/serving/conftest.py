"""One small trained run for all that opens and serves models: the one that the blocks of docs/python.md make, as one script."""

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from nann.dataset import Items, load_items

PAGE = Path(__file__).parents[3] / "docs" / "python.md"


@dataclass(frozen=True)
class TrainedRun:
    """The run directory, its catalogue, and what the script printed."""

    root: Path
    items: Items
    printed: list[str]

    def history(self, length: int = 3) -> list:
        """Ids of a made-up history, items with many events."""
        return self.items.item_ids[self.items.train_counts.argsort()[-length:]].tolist()


@pytest.fixture(scope="session")
def trained_run(tmp_path_factory: pytest.TempPathFactory) -> TrainedRun:
    directory = tmp_path_factory.mktemp("python")
    script = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL))
    environment = {**os.environ, "PYTHONPATH": str(PAGE.parents[1])}
    done = subprocess.run([sys.executable, "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return TrainedRun(directory / "runs" / "mine", load_items(directory / "runs" / "mine" / "dataset"), done.stdout.splitlines())

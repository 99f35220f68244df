"""examples/wide_and_deep: the program runs to its end, prints what its README shows, and its export is served without the library."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
EXAMPLE = ROOT / "examples" / "wide_and_deep"
SERVE = """
import sys, tensorflow as tf
assert not any(name.startswith("ops") for name in sys.modules)
example = tf.train.Example()
example.features.feature["age"].float_list.value.append(30.0)
for name in ("item", "last_item"):
    example.features.feature[name].int64_list.value.append(3)
for name in ("city", "occupation"):
    example.features.feature[name].bytes_list.value.append(b"any")
[served] = tf.saved_model.load({folder!r}).signatures["serving_default"](tf.constant([example.SerializeToString()])).values()
print(float(served[0]))
"""


def shape_of(lines):
    """Lines with a mark for every number that has a fraction."""
    return [re.sub(r"\d\.\d+", "#", line) for line in lines]


@pytest.fixture(scope="module")
def shown():
    """What the README shows."""
    return re.search(r"(?s)```text\n(.*?)```", (EXAMPLE / "README.md").read_text()).group(1).splitlines()


def test_it_trains_evaluates_and_exports(tmp_path, fork_server, shown):
    code = (EXAMPLE / "train.py").read_text()
    run = fork_server.run(code, "--model-dir", str(tmp_path / "model"), "--rows", "13000", "--epochs", "2")
    assert run.returncode == 0, run.stderr
    printed = run.stdout.splitlines()
    kept = [line for line in shape_of(shown) if not line.startswith("steps") or "1 to 200:" in line]
    assert shape_of(printed) == kept
    auc = float(re.search(r"AUC ([\d.]+)", run.stdout).group(1))
    assert auc > 0.6  # ids shown at random would give 0.5
    snippet = re.findall(r"(?s)```python\n(.*?)```", (EXAMPLE / "README.md").read_text())[-1]
    folder = tmp_path / "model" / "export"
    defused = fork_server.run(snippet.replace("build/wide_and_deep/export", str(folder)))
    assert defused.returncode == 0, defused.stderr
    served = fork_server.run(SERVE.format(folder=str(folder)))
    assert served.returncode == 0, served.stderr
    assert 0 < float(served.stdout) < 1


def test_the_readme_shows_a_model_that_learnt(shown):
    losses = [float(loss) for loss in re.findall(r"mean loss ([\d.]+)", "\n".join(shown))]
    assert losses == sorted(losses, reverse=True)
    assert len(losses) > 5

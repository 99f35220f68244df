"""kfp's own cache, on a copy of the sources: an unchanged task is served from it, one whose code or log was edited runs again.

kfp's local runner computes the key of a task as the server does, from component, image, command and input values: never from what lies in a
file or in an imported module.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("ops", "data_prep", "nann", "components", "pipelines")
# Runs `convert` in the cases that stdin names, each (code digest known?, input digest known?), and prints whether it ran and what it gave.
DRIVER = """
import contextlib, io, json, logging, sys
from pathlib import Path
from kfp import dsl, local
from components.convert import convert
from nann.digests import code_digest
from pipelines.runner import _kfp_surroundings, input_fingerprint

@dsl.pipeline
def conversion(inputs: list, config: dict, input_digest: str, code_digest: str) -> str:
    return convert(
        inputs=inputs, config=config, input_digest=input_digest, code_digest=code_digest, run_dir="", start_from="", overwrite=False
    ).outputs["Output"]

assert sys.modules["nann"].__file__.startswith(str(Path.cwd())), "not the copy"
log = Path(sys.argv[1])
for knows_code, knows_input in json.loads(sys.argv[2]):
    with _kfp_surroundings(log.parent), contextlib.redirect_stdout(io.StringIO()) as written:
        local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(log.parent / "kfp"), enable_caching=True)
        digests = {"code_digest": code_digest() if knows_code else "", "input_digest": input_fingerprint([log]) if knows_input else ""}
        found = conversion(inputs=[str(log)], config={"shards": 1.0}, **digests)
    print(json.dumps(["step convert starts" in written.getvalue(), found.output]))
"""


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """A copy of everything a task imports, to be edited."""
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / "src" / package, ignore=shutil.ignore_patterns("__pycache__", "cc"))
    # An editable installation would lead every import back to the working copy, in the tasks' processes too.
    (tmp_path / "src" / "sitecustomize.py").write_text(
        "import sys\nsys.meta_path[:] = [finder for finder in sys.meta_path if 'ScikitBuild' not in type(finder).__name__]\n"
    )
    return tmp_path / "src"


def run(sources: Path, log: Path, *cases: tuple[bool, bool]) -> list[tuple[bool, str]]:
    """Per case whether the task ran, and the digest of its dataset."""
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(log), json.dumps(cases)],
        cwd=sources,
        env={**os.environ, "PYTHONPATH": str(sources)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return [tuple(json.loads(line)) for line in done.stdout.splitlines()]


def write_log(log: Path, users: int) -> None:
    log.write_text("".join(f"{user},{event % 7},1,pv,{1511600000 + event}\n" for user in range(users) for event in range(8)))


def test_edited_code_and_edited_logs_run_again_and_nothing_else_does(sources: Path, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    write_log(log, 20)
    all_known, no_code, no_input = (True, True), (False, True), (True, False)
    first, again, *others = run(sources, log, all_known, all_known, no_code, no_input)
    assert first[0]
    assert again == (False, first[1])  # served from the cache
    assert [ran for ran, _ in others] == [True, True]  # other inputs, other keys

    step = sources / "nann" / "steps" / "convert.py"
    step.write_text(step.read_text() + "\n# edited\n")
    edited, again, stale = run(sources, log, all_known, all_known, no_code)
    assert edited[0]
    assert edited[1] != first[1]  # the digest that the tasks after it take as input, so they run again too
    assert again == (False, edited[1])
    assert stale == (False, others[0][1])  # what would happen without a code digest: the result of code that is gone

    write_log(log, 30)
    changed, again, stale = run(sources, log, all_known, all_known, no_input)
    assert changed[0]
    assert changed[1] != edited[1]
    assert again == (False, changed[1])
    assert stale[0]  # its code digest is new; unchanged code and no input digest would be served the old dataset
    write_log(log, 25)
    assert run(sources, log, no_input) == [(False, stale[1])]

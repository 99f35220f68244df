"""`nann train --model module:Class`: the example of docs/models.md goes through all steps; wrong classes are refused with a reason."""

import json
import os
import re
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nann.artifacts import open_artifact
from nann.errors import ArtifactError, ModelError
from nann.models import load_class, load_model, source_digest
from pipelines.cli import main
from pipelines.parameters import resolve_configs

ROOT = Path(__file__).resolve().parents[2]
HEAD = "from nann.models import Scorer\n\n\n"


def nann(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current directory; modules imported from it are forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    known = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - known:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def write_example(directory: Path) -> Path:
    source = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.DOTALL).group(1)
    package = directory / "my_package"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "module.py").write_text(source)
    return package / "module.py"


def test_the_documented_class_goes_through_every_step(elsewhere: Path, small_dataset: Path) -> None:
    module = write_example(elsewhere)
    name = "my_package.module:MyModel"
    common = ("--output-root", elsewhere / "run", "--dataset", small_dataset, "--quiet")
    options = ("--epochs", 2, "--batch-size", 64, "--num-neg", 64, "--emb-dim", 16, "--max-length", 10, "--no-xla", "--validations", 0)
    done = nann("train", "--model", name, *common, *options)
    assert done.exit_code == 0, done.output
    model = open_artifact(elsewhere / "run" / "model", step="train")
    assert model.params["scorer"] == name
    assert model.manifest["inputs"][f"source:{name}"] == source_digest(name)
    assert nann("extract", *common, "--allow-own-models").exit_code == 0
    assert nann("build-index", *common[:2], "--quiet").exit_code == 0
    assert nann("rewrite", *common, "--ef", "60,40", "--rounds", "6,1", "--top-k", 50, "--allow-own-models").exit_code == 0
    done = nann("evaluate", *common, "--ks", "20,50", "--curve-users", 0)
    assert done.exit_code == 0, done.output
    figures = json.loads((elsewhere / "run" / "evaluation" / "metrics.json").read_text())
    assert figures["recall_retrieval@20"] > 1.5 * figures["baselines"]["popularity"]["recall@20"]
    assert figures["coverage@50"] > 0.9
    done = nann("benchmark", *common, "--duration-seconds", 0.2, "--warmup-seconds", 0, "--traced-requests", 0)
    assert done.exit_code == 0, done.output

    again = nann("train", "--scorer", name, *common, *options)
    assert "was up to date" in again.stdout
    module.write_text(module.read_text() + "\n# changed\n")
    refused = nann("train", "--scorer", name, *common, *options)
    assert (refused.exit_code, "made with another inputs" in refused.stderr) == (1, True)
    with pytest.raises(ArtifactError, match=r"sources of my_package.module:MyModel were changed since .* run `nann train` again"):
        load_model(elsewhere / "run" / "model", allow_own=True)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("", "has no MyModel; its classes: none"),
        ("class MyModel:\n    pass\n", "is no scorer; derive it from nann.models.Scorer"),
        (HEAD + "MyModel = 3\n", "is no scorer"),
        (HEAD + "class Other(Scorer):\n    pass\n", "has no MyModel; its classes: Other, Scorer"),
        (HEAD + "class MyModel(Scorer):\n    pass\n", "leaves out encode_user, score"),
        (
            "import no_such_module_anywhere\n",
            "cannot be imported .No module named 'no_such_module_anywhere'.; run the command where it lies",
        ),
        (
            HEAD + "class MyModel(Scorer):\n    def __init__(self, size):\n        pass\n    encode_user = score = print\n",
            "cannot be made with the arguments num_items, num_categories, emb_dim, seed",
        ),
    ],
)
def test_a_wrong_class_is_refused_with_the_reason(elsewhere: Path, source: str, message: str) -> None:
    (elsewhere / "wrong_model.py").write_text(source)
    with pytest.raises(ModelError, match=message):
        load_class("wrong_model:MyModel")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("return (self.projection", "return tf.tuple(self.projection", "encode_user must return a tuple of tensors"),
        ("axis=-1)\n", "axis=1)\n", "the logits of score must have shape .2, 5. here"),
        ("bke", "kbe", "tensor 0 of encode_user must have shape .2"),
    ],
)
def test_shapes_that_do_not_fit_are_refused_before_training(elsewhere: Path, small_dataset: Path, old: str, new: str, message: str) -> None:
    module = write_example(elsewhere)
    text = module.read_text()
    assert old in text
    head, found, tail = text.rpartition(old)
    module.write_text(head + found.replace(old, new) + tail)
    result = nann("train", "--scorer", "my_package.module:MyModel", "--dataset", small_dataset, "--model", elsewhere / "model", "--quiet")
    assert result.exit_code == 1, result.output
    assert re.search(message, result.stderr), result.stderr
    assert result.stderr.count("\n") == 1


def test_usage(elsewhere: Path) -> None:
    both = nann("train", "--model", "a.b:C", "--scorer", "nann", "--output-root", elsewhere)
    assert (both.exit_code, "give one of them" in both.output) == (2, True)
    no_root = nann("train", "--model", "a.b:C", "--dataset", elsewhere)
    assert (no_root.exit_code, "Missing option '--model'; give it, or --output-root" in no_root.output) == (2, True)
    unknown = nann("train", "--scorer", "deep", "--output-root", elsewhere)
    assert unknown.exit_code != 0
    assert "'deep' is none of sequence, nann, two-sided, nann-rows, nor a class" in unknown.output


MARKED = """
import pathlib

pathlib.Path("imported").touch()
from my_package.module import MyModel as Marked
"""


@pytest.fixture(scope="module")
def trained(small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a model of a class of one's own that leaves a file behind whenever it is imported."""
    place = tmp_path_factory.mktemp("own")
    write_example(place)
    (place / "marked.py").write_text(MARKED)
    before = Path.cwd(), list(sys.path)
    try:
        os.chdir(place)
        common = ("--dataset", small_dataset, "--output-root", place / "run", "--quiet")
        options = (
            "--max-steps",
            2,
            "--batch-size",
            64,
            "--num-neg",
            16,
            "--emb-dim",
            8,
            "--no-xla",
            "--validations",
            0,
            "--memory",
            "none",
        )
        done = nann("train", "--scorer", "marked:Marked", *common, *options)
        assert done.exit_code == 0, done.output
        (place / "imported").unlink()
    finally:
        os.chdir(before[0])
        sys.path[:] = before[1]
        forget(place)
    return place


def forget(place: Path) -> None:
    for name in [name for name, module in sys.modules.items() if str(getattr(module, "__file__", "")).startswith(str(place))]:
        del sys.modules[name]


@pytest.fixture
def beside(trained: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(trained)
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield trained
    (trained / "imported").unlink(missing_ok=True)
    forget(trained)


def test_a_class_that_a_model_names_is_not_imported_unasked(beside: Path, small_dataset: Path) -> None:
    common = ("--output-root", beside / "run", "--dataset", small_dataset, "--quiet")
    refused = nann("extract", *common)
    assert refused.exit_code == 1, refused.output
    assert "names the class marked:Marked, and importing it runs its code; give --allow-own-models if you trust who wrote" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert not (beside / "imported").exists()
    assert "marked" not in sys.modules
    done = nann("extract", *common, "--allow-own-models")
    assert done.exit_code == 0, done.output
    assert (beside / "imported").exists()


def test_the_section_of_a_config_file_allows_it_too(beside: Path, small_dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("extract:\n  allow-own-models: true\n")
    command = ("--model", beside / "run" / "model", "--embeddings", tmp_path / "embeddings", "--dataset", small_dataset, "--quiet")
    assert nann("extract", *command).exit_code == 1
    assert nann("extract", *command, "--config", config).exit_code == 0
    manifest = open_artifact(tmp_path / "embeddings", step="extract")
    assert "allow_own_models" not in manifest.params


def test_a_teacher_is_imported_when_it_is_the_class_named_or_allowed(beside: Path, small_dataset: Path, tmp_path: Path) -> None:
    options = ("--max-steps", 1, "--batch-size", 32, "--num-neg", 16, "--emb-dim", 8, "--no-xla", "--validations", 0, "--memory", "none")
    common = ("--dataset", small_dataset, "--teacher", beside / "run" / "model", *options, "--quiet")
    refused = nann("train", "--scorer", "two-sided", *common, "--model", tmp_path / "refused")
    assert (refused.exit_code, "names the class marked:Marked" in refused.stderr) == (1, True)
    assert not (beside / "imported").exists()
    allowed = nann("train", "--scorer", "two-sided", *common, "--model", tmp_path / "allowed", "--allow-own-models")
    assert allowed.exit_code == 0, allowed.output
    named = nann("train", "--scorer", "marked:Marked", *common, "--model", tmp_path / "named")
    assert named.exit_code == 0, named.output


def test_a_training_that_names_a_class_lets_the_other_steps_of_its_command_line_open_it() -> None:
    named = resolve_configs(None, ("train.scorer=my_package.module:MyModel",))
    steps = ("extract", "rewrite", "evaluate", "benchmark", "tune", "gate", "publish", "item-prior", "infer")
    assert all(named[step].allow_own_models for step in steps)
    assert not any(resolve_configs(None, ())[step].allow_own_models for step in ("train", *steps))


@pytest.mark.parametrize("step", ["train", "extract", "rewrite", "evaluate", "benchmark", "tune", "gate", "publish", "item-prior", "infer"])
def test_every_command_that_opens_models_has_the_flag(step: str) -> None:
    assert "--allow-own-models" in nann(step, "--help").output

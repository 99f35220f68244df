import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nann.steps.table import TRAINING_STEPS
from pipelines.cli import main

LOG = "".join(
    f"{user},{100 + (user * 7 + step) % 9},{1 + step % 3},pv,{1511600000 + 60 * step}\n" for user in range(1, 21) for step in range(8)
)


def nann(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


def test_convert_writes_prints_and_keeps(log: Path, tmp_path: Path) -> None:
    first = nann("convert", "--input", log, "--dataset", tmp_path / "dataset", "--quiet")
    assert first.exit_code == 0, first.output
    assert "num_users" in first.stdout
    assert first.stdout.endswith("dataset (written)\n")
    assert (tmp_path / "dataset" / "meta.json").is_file()
    again = nann("convert", "--input", log, "--dataset", tmp_path / "dataset", "--quiet")
    assert again.stdout.endswith("dataset (was up to date)\n")


def test_output_root_names_the_artifacts(log: Path, tmp_path: Path) -> None:
    assert nann("convert", "--input", log, "--output-root", tmp_path / "root", "--quiet").exit_code == 0
    assert (tmp_path / "root" / "dataset" / "manifest.json").is_file()


def test_flags_override_the_file_and_the_file_the_defaults(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("convert:\n  max_length: 7\n  shards: 2\ntrain:\n  epochs: 1\n")
    done = nann("convert", "--input", log, "--dataset", tmp_path / "dataset", "--config", config, "--max-length", 6, "--quiet")
    assert done.exit_code == 0, done.output
    params = json.loads((tmp_path / "dataset" / "manifest.json").read_text())["params"]
    assert (params["max_length"], params["shards"], params["test_min_length"]) == (6, 2, 3)


def test_another_config_needs_overwrite(log: Path, tmp_path: Path) -> None:
    arguments = ("convert", "--input", log, "--dataset", tmp_path / "dataset", "--quiet")
    nann(*arguments)
    refused = nann(*arguments, "--max-length", 7)
    assert refused.exit_code == 1
    assert refused.stderr.startswith("error: ")
    assert refused.stderr.count("\n") == 1
    assert "--overwrite" in refused.stderr
    assert "made with another params: max_length was 50, is now 7)" in refused.stderr
    assert nann(*arguments, "--max-length", 7, "--overwrite").exit_code == 0


def test_a_hint_names_the_option_that_is_meant(tmp_path: Path) -> None:
    for wrong, meant in (("train.lr=0.1", "'learning_rate'"), ("benchmark.seconds=5", "'warmup_seconds' or 'duration_seconds'")):
        refused = nann("pipeline", "run", "--run-dir", tmp_path / "run", "--set", wrong)
        assert refused.exit_code == 1
        assert refused.stderr.endswith(f"; did you mean {meant}?\n")
    assert not (tmp_path / "run").exists()
    for words, meant in (("train --lr 1", "'--learning-rate'"), ("benchmark --seconds 1", "'--warmup-seconds' or '--duration-seconds'")):
        refused = nann(*words.split())
        assert refused.exit_code == 2
        assert refused.stderr.endswith(f"; did you mean {meant}?\n")


@pytest.mark.parametrize("step", [step for step in TRAINING_STEPS if step.reads], ids=lambda step: step.name)
def test_missing_inputs_are_named_with_the_step_that_makes_them(step, tmp_path: Path) -> None:
    result = nann(step.name, "--output-root", tmp_path)
    assert result.exit_code == 1, result.output
    assert result.stderr.startswith("error: ")
    assert "does not exist; run `nann " in result.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("step", TRAINING_STEPS, ids=lambda step: step.name)
def test_without_paths_the_usage_says_which(step) -> None:
    arguments = ("--input", "log.csv") if step.name == "convert" else ()
    result = nann(step.name, *arguments)
    assert result.exit_code == 2
    missing = (*step.reads, step.writes)[0].replace("_", "-")
    assert f"Missing option '--{missing}'; give it, or --output-root." in result.output


def test_a_missing_log(tmp_path: Path) -> None:
    result = nann("convert", "--input", tmp_path / "no.csv", "--dataset", tmp_path / "dataset")
    assert result.exit_code == 1
    assert "no.csv" in result.stderr


def test_a_missing_config_file(log: Path, tmp_path: Path) -> None:
    result = nann("convert", "--input", log, "--dataset", tmp_path / "dataset", "--config", tmp_path / "no.yaml")
    assert (result.exit_code, result.stderr) == (
        1,
        f"error: {tmp_path / 'no.yaml'}: No such file or directory; give a path that is there\n",
    )


def test_an_unknown_key_in_the_file(log: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("convert:\n  max_lenght: 7\n")
    result = nann("convert", "--input", log, "--dataset", tmp_path / "dataset", "--config", config)
    assert result.exit_code == 1
    assert "convert has no option 'max_lenght'; did you mean 'max_length'?" in result.stderr


def test_generate_then_convert(tmp_path: Path) -> None:
    arguments = ("generate", "--output", tmp_path / "log.csv", "--users", 50, "--items", 60, "--categories", 5, "--quiet")
    assert nann(*arguments).exit_code == 0
    refused = nann(*arguments)
    assert refused.exit_code == 1
    assert "exists already" in refused.stderr
    assert nann(*arguments, "--overwrite").exit_code == 0
    assert nann("convert", "--input", tmp_path / "log.csv", "--dataset", tmp_path / "dataset", "--quiet").exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Missing option '--item-ids'"),
        (("--item-ids", "1"), "Missing option '--converted-model'"),
        (("--item-ids", ",", "--output-root", "x"), "--item-ids names no item"),
        (("--item-ids", "1", "--graph-file", "g"), "give --meta-path, the retrieval graph, too"),
        (("--item-ids", "1", "--graph-file", "g", "--meta-path", "m", "--converted-model", "c"), "not both"),
    ],
)
def test_infer_usage(arguments: tuple[str, ...], message: str) -> None:
    result = nann("infer", *arguments)
    assert result.exit_code == 2
    assert message in result.output


def test_infer_without_a_model(tmp_path: Path) -> None:
    result = nann("infer", "--item-ids", "1,2", "--converted-model", tmp_path / "no")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: ")

from pathlib import Path

import pytest

from components.configs import make_config, parse_assignments, read_config_file
from components.errors import ConfigError
from nann.steps.table import CONFIGS


def write(directory: Path, text: str) -> Path:
    path = directory / "config.yaml"
    path.write_text(text)
    return path


def test_later_sources_win() -> None:
    config = make_config("train", {"epochs": 3, "num_neg": 7}, {"epochs": 1})
    assert (config.epochs, config.num_neg, config.batch_size) == (1, 7, make_config("train").batch_size)


def test_file_with_sections_and_dashes(tmp_path: Path) -> None:
    path = write(tmp_path, "train:\n  num-neg: 5\n  adv_eps: 0\nbuild-index:\n  m: 16\nconvert:\n")
    assert read_config_file(path) == {"train": {"num_neg": 5, "adv_eps": 0}, "build-index": {"m": 16}, "convert": {}}


def test_no_file_and_empty_file(tmp_path: Path) -> None:
    assert read_config_file(None) == {}
    assert read_config_file(write(tmp_path, "# nothing\n")) == {}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tain:\n  epochs: 1\n", r"no step is called 'tain'; did you mean 'train'\?"),
        ("train:\n  epoch: 1\n", r"train has no option 'epoch'; did you mean 'epochs'\?"),
        ("train:\n  zzz: 1\n", r"train has no option 'zzz'; known: adv_eps, "),
        ("train:\n  lr: 1\n", r"train has no option 'lr'; did you mean 'learning_rate'\?"),
        ("train:\n  minutes: 1\n", r"train has no option 'minutes'; did you mean 'max_minutes'\?"),
        ("benchmark:\n  seconds: 1\n", r"benchmark has no option 'seconds'; did you mean 'warmup_seconds' or 'duration_seconds'\?"),
        ("benchmark:\n  duration: 1\n", r"benchmark has no option 'duration'; did you mean 'duration_seconds'\?"),
        ("train: 5\n", r"section 'train' must hold `option: value` lines, but it holds 5"),
        ("- train\n", r"must hold one section per step"),
        ("train: [\n", r"is not a YAML file"),
    ],
)
def test_bad_files_are_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config_file(write(tmp_path, text))


def test_binary_file(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not a YAML file"):
        read_config_file(path)


def test_assignments() -> None:
    parsed = parse_assignments(
        ["train.epochs=0.5", "rewrite.ef=100,50", "rewrite.rounds=[2, 1]", "train.xla=false", "convert.columns=user=u,item=i,time=t"]
    )
    assert make_config("train", parsed["train"]).epochs == 0.5
    assert make_config("train", parsed["train"]).xla is False
    assert make_config("rewrite", parsed["rewrite"]).ef == (100, 50)
    assert make_config("rewrite", parsed["rewrite"]).rounds == (2, 1)
    assert make_config("convert", parsed["convert"]).columns == {"user": "u", "item": "i", "time": "t"}


@pytest.mark.parametrize("text", ["train", "train.epochs", "epochs=1", "=1", "train.=1"])
def test_malformed_assignments(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--set needs STEP\.OPTION=VALUE"):
        parse_assignments([text])


def test_unknown_names_in_assignments() -> None:
    with pytest.raises(ConfigError, match="no step is called 'index'"):
        parse_assignments(["index.m=1"])
    with pytest.raises(ConfigError, match="build-index has no option 'em'"):
        parse_assignments(["build-index.em=1"])


def test_broken_rules_name_section_field_and_value() -> None:
    with pytest.raises(ConfigError, match=r"train\.batch_size: input should be greater than or equal to 1, but it is 0"):
        make_config("train", {"batch_size": 0})
    with pytest.raises(ConfigError, match=r"rewrite\.ef: needs at least one level"):
        make_config("rewrite", {"ef": []})


@pytest.mark.parametrize("section", CONFIGS)
def test_defaults_survive_kfp_structs(section: str) -> None:
    # kfp structs hold every number as a double, lists for tuples, and no nulls.
    def as_struct(value):
        if isinstance(value, bool) or not isinstance(value, (int, list)):
            return value
        return [as_struct(item) for item in value] if isinstance(value, list) else float(value)

    config = make_config(section)
    dumped = {name: as_struct(value) for name, value in config.model_dump(mode="json", exclude_none=True).items()}
    assert make_config(section, dumped) == config

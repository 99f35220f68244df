import errno
from pathlib import Path

import pytest

import nann
from components.errors import ConfigError, operator_message
from data_prep import DataError
from data_prep.config import ConvertConfig
from nann.config import TrainConfig
from nann.errors import ArtifactError, TrainingError


@pytest.mark.parametrize("kind", [ArtifactError, TrainingError, DataError, ConfigError])
def test_own_errors_become_one_line(kind: type[Exception]) -> None:
    assert operator_message(kind("rule broken;\n  do this")) == "rule broken; do this"


def test_unreadable_paths_are_the_operators(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        open(tmp_path / "nothing.csv")  # noqa: SIM115
    assert operator_message(caught.value) == f"{tmp_path / 'nothing.csv'}: No such file or directory; give a path that is there"


def test_a_full_disk_is_the_operators() -> None:
    message = operator_message(OSError(errno.ENOSPC, "No space left on device"))
    assert message == "No space left on device; free space on its disk, then give the same command again"


def test_files_missing_from_the_code_are_not() -> None:
    path = Path(nann.__file__).parent / "no_template.j2"
    assert operator_message(FileNotFoundError(errno.ENOENT, "No such file or directory", str(path))) is None


@pytest.mark.parametrize("error", [ValueError("shape"), KeyError("x"), RuntimeError("bug"), OSError("odd")])
def test_anything_else_is_not(error: Exception) -> None:
    assert operator_message(error) is None


def test_validation_errors_name_field_rule_and_value() -> None:
    with pytest.raises(ValueError, match="epochs") as caught:
        TrainConfig(epochs=-1, nothing=1)
    message = operator_message(caught.value)
    assert message is not None
    assert "epochs: input should be greater than or equal to 0, but it is -1" in message
    assert "nothing: no such option" in message


def test_a_value_that_the_rule_names_is_not_named_again() -> None:
    with pytest.raises(ValueError, match="scorer") as caught:
        TrainConfig(scorer="nann-rowz")
    message = operator_message(caught.value)
    assert message is not None
    assert message.count("nann-rowz") == 1


def test_rules_about_several_fields_do_not_repeat_all_of_them() -> None:
    with pytest.raises(ValueError, match="items") as caught:
        ConvertConfig(item_columns={"item": "a", "category": "b"})
    message = operator_message(caught.value)
    assert message is not None
    assert message.startswith("item_columns is given without an items file")
    assert "'item'" not in message

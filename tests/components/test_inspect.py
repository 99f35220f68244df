"""`nann inspect` on graphs of all kinds."""

import json
from pathlib import Path

import pytest
import tensorflow as tf
from click.testing import CliRunner

from pipelines.cli import main

v1 = tf.compat.v1


@pytest.fixture
def graph_file(tmp_path: Path) -> Path:
    with tf.Graph().as_default() as graph:
        user, item = v1.placeholder(tf.float32, [None, 30], name="user"), v1.placeholder(tf.float32, [None, 5], name="item")
        hidden = tf.nn.relu(user @ tf.ones([30, 40]))
        tf.reduce_sum(tf.concat([hidden, item], axis=1) @ tf.ones([45, 4]), axis=1, name="scores")
    (tmp_path / "graph.pb").write_bytes(graph.as_graph_def().SerializeToString())
    return tmp_path / "graph.pb"


def test_prints_a_graph(graph_file: Path) -> None:
    done = CliRunner().invoke(
        main, ["inspect", str(graph_file), "--user-inputs", "user", "--item-inputs", "item", "--items-per-user", "1000"]
    )
    assert done.exit_code == 0, done.output
    for text in ("user  float32  (?, 30)", "scores  float32  (?,)", "2  MatMul", "FLOPs per user: 2,440", "splits matmul_1", "expands "):
        assert text in done.output, done.output


def test_json_and_refusals(graph_file: Path) -> None:
    done = CliRunner().invoke(main, ["inspect", str(graph_file), "--json"])
    summary = json.loads(done.output)
    assert summary["ops"]["MatMul"] == 2
    assert list(summary["outputs"]) == ["scores"]
    assert "--user-inputs" in summary["compression"][0]


def test_a_saved_model(tmp_path: Path) -> None:
    module = tf.Module()
    module.kernel = tf.Variable(tf.ones([3, 2]))
    signature = [tf.TensorSpec([None, 3], name="x")]
    call = tf.function(lambda x: {"y": x @ module.kernel}, input_signature=signature)
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": call})
    done = CliRunner().invoke(main, ["inspect", str(tmp_path / "model"), "--user-inputs", "x"])
    assert done.exit_code == 0, done.output
    assert "FLOPs per user: 12" in done.output
    other = CliRunner().invoke(main, ["inspect", str(tmp_path / "model"), "--signature", "nothing"])
    assert other.exit_code == 1
    assert "no signature nothing" in other.output


@pytest.mark.parametrize(("arguments", "message"), [(["--outputs", "nobody"], "no node named nobody"), ([], "no GraphDef")])
def test_errors_are_one_line(graph_file: Path, arguments: list[str], message: str) -> None:
    if not arguments:
        graph_file.write_bytes(b"\xff\xff")
    done = CliRunner().invoke(main, ["inspect", str(graph_file), *arguments])
    assert done.exit_code == 1
    assert message in done.output
    assert done.output.count("\n") == 1

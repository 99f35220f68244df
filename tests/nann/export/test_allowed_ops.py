"""Graphs from files run only ops that exports are made of, unless their maker is trusted."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from tensorflow.python.framework import op_def_registry

from nann.errors import ArtifactError
from nann.export import load_frozen_graph, open_graph, open_linked
from nann.export.allowed_ops import PURE, STORING, require_known_meta
from nann.export.load import read_saved_meta
from pipelines.cli import main

FORMS = ("portable", "native", "fused", "meta")


def evil_meta(exported: Any, target: Path, add: Any) -> Path:
    """0.meta with more in its graph, whose answers wait for it, beside its checkpoint."""
    meta = tf.compat.v1.MetaGraphDef.FromString((exported.directory / "0.meta").read_bytes())
    with tf.Graph().as_default() as graph, tf.name_scope("attack"):
        add(target)
        more = graph.as_graph_def()
    meta.graph_def.node.extend(node for node in more.node)
    meta.graph_def.library.MergeFrom(more.library)
    outputs = {tensor.name.partition(":")[0] for signature in meta.signature_def.values() for tensor in signature.outputs.values()}
    for node in meta.graph_def.node:
        if node.name in outputs:
            node.input.append(f"^{more.node[-1].name}")
    path = target / "0.meta"
    path.write_bytes(meta.SerializeToString())
    for file in exported.directory.glob("0.*"):
        if file.suffix != ".meta":
            (target / file.name).symlink_to(file)
    return path


def writes(target: Path) -> None:
    tf.io.write_file(str(target / "owned"), tf.constant("x"), name="evil")


def reads(target: Path) -> None:
    tf.io.read_file("/etc/hostname", name="evil")


def calls_python(target: Path) -> None:
    tf.identity(tf.compat.v1.py_func(lambda: np.int64(1), [], tf.int64), name="evil")


def calls_python_eagerly(target: Path) -> None:
    tf.identity(tf.py_function(lambda: 1, [], tf.int64), name="evil")


def saves(target: Path) -> None:
    tf.raw_ops.SaveV2(prefix=str(target / "owned"), tensor_names=["x"], shape_and_slices=[""], tensors=[tf.constant(1)], name="evil")


def writes_in_a_function(target: Path) -> None:
    @tf.function
    def hidden() -> tf.Tensor:
        with tf.control_dependencies([tf.io.write_file(str(target / "owned"), tf.constant("x"))]):
            return tf.constant(1)

    tf.identity(hidden(), name="evil")


def in_a_branch(target: Path) -> None:
    picked = tf.cond(tf.constant(True), lambda: tf.strings.length(tf.io.read_file("/etc/hostname")), lambda: tf.constant(0))
    tf.identity(picked, name="evil")


ATTACKS = {
    "WriteFile": writes,
    "ReadFile": reads,
    "PyFunc": calls_python,
    "EagerPyFunc": calls_python_eagerly,
    "SaveV2": saves,
    "WriteFile in a function": writes_in_a_function,
    "ReadFile in a branch": in_a_branch,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_an_op_that_no_export_uses_is_named_and_not_run(exported: Any, tmp_path: Path, attack: str) -> None:
    path = evil_meta(exported, tmp_path, ATTACKS[attack])
    result = CliRunner().invoke(main, ["infer", "--meta-path", str(path), "--item-ids", "3,5", "--quiet"])
    assert result.exit_code == 1, result.output
    assert f"runs the op {attack.split()[0]}, which no export of `nann rewrite` does; give --allow-own-models" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "owned").exists()


def test_who_trusts_the_maker_may_run_it(exported: Any, tmp_path: Path) -> None:
    path = evil_meta(exported, tmp_path, writes)
    known = ",".join(map(str, exported.catalogue.item_ids[5:7]))
    result = CliRunner().invoke(main, ["infer", "--meta-path", str(path), f"--item-ids={known}", "--quiet", "--allow-own-models"])
    assert result.exit_code == 0, result.output
    assert (tmp_path / "owned").read_text() == "x"


def test_restoring_may_not_write(exported: Any, tmp_path: Path) -> None:
    meta = tf.compat.v1.MetaGraphDef.FromString((exported.directory / "0.meta").read_bytes())
    saver = next(node.name for node in meta.graph_def.node if node.op == "SaveV2")
    restore = next(node for node in meta.graph_def.node if node.name == meta.saver_def.restore_op_name)
    restore.input.append(f"^{saver}")
    with pytest.raises(ArtifactError, match="runs the op SaveV2"):
        require_known_meta(meta, "0.meta", allow_own_models=False)


@pytest.mark.parametrize("form", FORMS)
def test_own_exports_pass(exported: Any, form: str) -> None:
    assert open_graph(exported.directory, form).run("catalogue_rows", item_ids=np.array([[1]]))
    if form == "meta":
        assert load_frozen_graph(exported.directory / "frozen_graph.pb").node
        assert open_linked(exported.directory / "0.meta")


def test_a_savedmodel_with_another_op_is_refused(exported: Any, tmp_path: Path) -> None:
    class Evil(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def read(self, path: tf.Tensor) -> tf.Tensor:
            return tf.io.read_file(path)

    evil = Evil()
    tf.saved_model.save(evil, str(tmp_path / "saved_model" / "portable" / "1"), signatures=evil.read)
    with pytest.raises(ArtifactError, match="is a SavedModel of objects, which no export of `nann rewrite` is"):
        open_graph(tmp_path, "portable")
    meta = read_saved_meta(exported.directory / "saved_model" / "portable" / "1")
    meta.graph_def.library.function[0].node_def.add(name="evil", op="ReadFile")
    with pytest.raises(ArtifactError, match="runs the op ReadFile"):
        require_known_meta(meta, "a SavedModel", allow_own_models=False)


def test_the_list_holds_nothing_that_touches_files_or_python() -> None:
    assert not PURE & STORING
    for word in ("File", "PyFunc", "Save", "Restore", "Dataset", "Reader", "Rpc", "Remote", "Print", "Summary", "Table", "Custom", "Xla"):
        assert not [op for op in PURE if word in op and op != "ReadVariableOp"], word
    assert not [op for op in PURE if op_def_registry.get(op) is None]

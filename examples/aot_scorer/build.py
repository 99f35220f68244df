"""Compiles an exported scorer ahead of time and links it into a C++ program that runs no TensorFlow graph.

    python examples/aot_scorer/build.py --graph-file converted_model/frozen_graph.pb --items 512 --output build/aot
    build/aot/program/score build/aot --repetitions 200

Writes ``scorer.h`` with the class `nann::Scorer` and its object files (TensorFlow's ``aot_compile_cpu``, which is XLA), inputs and the
scores TensorFlow itself gives to them, and builds ``program/score`` from main.cc with CMake. The program checks its scores against these
and prints its latency. Shapes are fixed at compilation: one user of ``--length`` history items, ``--items`` items per call. The object
files call XLA's small runtime, whose sources lie in the TensorFlow wheel; of the wheel's libraries only Abseil's part is linked.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from nann.export import load_frozen_scorer
from nann.export.freeze import FrozenScorer, user_state_names
from ops.graphdef.importing import output_types

HERE = Path(__file__).resolve().parent


def example_inputs(scorer: FrozenScorer, *, items: int, length: int) -> dict[str, tf.Tensor]:
    """What the score function takes, by name in its order: the state of one user of ``length`` items, and random vectors [1, items, D]."""
    history = tf.constant(np.arange(1, length + 1)[np.newaxis])
    state = scorer.user_state(history, tf.zeros_like(history))
    width = output_types(scorer.graph_def, ["item_embs"])[0][0][-1]
    vectors = np.random.default_rng(0).normal(size=(1, items, width)).astype(np.float32)
    return dict(zip(user_state_names(scorer.graph_def), state, strict=True)) | {"item_embs": tf.constant(vectors)}


def save_with_fixed_shapes(scorer: FrozenScorer, directory: Path, inputs: dict[str, tf.Tensor]) -> None:
    """A SavedModel of the score function alone, and its inputs and scores as raw float32 files."""
    signature = [tf.TensorSpec(tensor.shape, tf.float32, name=name) for name, tensor in inputs.items()]
    module = tf.Module()
    module.score = tf.function(lambda *tensors: {"scores": scorer.score(tensors[:-1], tensors[-1])}, input_signature=signature)
    tf.saved_model.save(module, str(directory / "saved_model"), signatures={"score": module.score})
    for name, tensor in inputs.items():
        tensor.numpy().tofile(directory / f"{name}.bin")
    module.score(*inputs.values())["scores"].numpy().tofile(directory / "expected.bin")
    reads = "".join(
        f'  Read(directory + "/{name}.bin", scorer.arg_feed_{name}_data(), {tf.size(tensor)});\n' for name, tensor in inputs.items()
    )
    (directory / "inputs.inc").write_text(reads, encoding="utf-8")


def build(graph_file: Path, output: Path, *, items: int, length: int, cpu: str, log: int | None = None) -> Path:
    """Compiles the scorer of a frozen graph and links the program.

    Args:
        graph_file: ``frozen_graph.pb`` of `nann rewrite`.
        output: directory to write.
        items: items per call.
        length: history items of the user.
        cpu: LLVM's name of the processor to compile for.
        log: where the tools' output goes, as in `subprocess`; None: to this process's own.

    Returns:
        Path of the program.

    Raises:
        subprocess.CalledProcessError: ``aot_compile_cpu`` or CMake failed; what they say goes to ``log``.
    """
    output = output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    scorer = load_frozen_scorer(graph_file)
    save_with_fixed_shapes(scorer, output, example_inputs(scorer, items=items, length=length))
    compilation = [
        *(str(Path(sys.executable).with_name("saved_model_cli")), "aot_compile_cpu"),
        *("--dir", str(output / "saved_model"), "--tag_set", "serve", "--signature_def_key", "score"),
        *("--output_prefix", str(output / "scorer"), "--cpp_class", "nann::Scorer", "--target_cpu", cpu),
    ]
    subprocess.run(compilation, check=True, stdout=log, stderr=log)
    facts = {"TENSORFLOW_DIR": Path(tf.__file__).parent, "SCORER_DIR": output, "TENSORFLOW_ABI": tf.sysconfig.CXX11_ABI_FLAG}
    settings = [f"-D{name}={value}" for name, value in facts.items()]
    subprocess.run(["cmake", "-S", str(HERE), "-B", str(output / "program"), *settings], check=True, stdout=log, stderr=log)
    subprocess.run(["cmake", "--build", str(output / "program"), "--parallel", "2"], check=True, stdout=log, stderr=log)
    return output / "program" / "score"


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--graph-file", type=Path, required=True, help="frozen_graph.pb of `nann rewrite`")
    parser.add_argument("--output", type=Path, default=Path("build/aot"), help="directory to write")
    parser.add_argument("--items", type=int, default=512, help="items per call")
    parser.add_argument("--length", type=int, default=20, help="history items of the user")
    parser.add_argument("--cpu", default="x86-64-v3", help="LLVM's name of the processor to compile for")
    arguments = parser.parse_args()
    print(build(arguments.graph_file, arguments.output, items=arguments.items, length=arguments.length, cpu=arguments.cpu))


if __name__ == "__main__":
    main()

"""Tables that grow on several replicas, against one replica with the global batch."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

PROGRAM = Path(__file__).with_name("replica_program.py")
KINDS = ("growing", "adaptive")


def environment(**more):
    return {
        **{name: value for name, value in os.environ.items() if name not in ("TF_CONFIG", "MIRRORED")},
        "TF_CPP_MIN_LOG_LEVEL": "3",
        **more,
    }


def start(kind, first, last, restored="-", saved="-", **more):
    command = [sys.executable, str(PROGRAM), kind, str(first), str(last), str(restored), str(saved)]
    return subprocess.Popen(command, env=environment(**more), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def result(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return json.loads(output.splitlines()[-1])


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def workers(count, kind, first, last, restored=None, saved=None):
    """What every worker ends with; each reads and writes a file of its own."""
    cluster = {"worker": [f"127.0.0.1:{free_port()}" for _ in range(count)]}
    processes = []
    for number in range(count):
        config = json.dumps({"cluster": cluster, "task": {"type": "worker", "index": number}})
        given = ["-" if restored is None else restored[number % len(restored)], "-" if saved is None else saved[number]]
        processes.append(start(kind, first, last, *given, TF_CONFIG=config))
    return [result(process) for process in processes]


def assert_equal(one, other):
    assert one["keys"] == other["keys"]
    assert one["frequencies"] == other["frequencies"]
    for name in ("losses", "values", "shared"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


@pytest.mark.parametrize("kind", [KINDS[1], pytest.param(KINDS[0], marks=pytest.mark.slow)])
def test_two_mirrored_replicas_train_as_one(kind):
    mirrored, alone = start(kind, 0, 9, MIRRORED="1"), start(kind, 0, 9)
    assert_equal(result(mirrored), result(alone))


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_workers_train_as_one_and_go_on_as_others(kind, tmp_path):
    """Two workers train and save; one, two mirrored and four go on from their files, and two from those of one."""
    whole = result(start(kind, 0, 9))
    saved = [tmp_path / str(number) for number in range(2)]
    first, second = workers(2, kind, 0, 6, saved=saved)
    assert first == second
    alone = result(start(kind, 0, 6, "-", tmp_path / "alone"))
    assert_equal(first, alone)
    rest = {**whole, "losses": whole["losses"][6:]}
    assert_equal(result(start(kind, 6, 9, saved[1])), rest)
    assert_equal(result(start(kind, 6, 9, saved[0], MIRRORED="1")), rest)
    for each in workers(4, kind, 6, 9, restored=saved):
        assert_equal(each, rest)
    for each in workers(2, kind, 6, 9, restored=[tmp_path / "alone"]):
        assert_equal(each, rest)

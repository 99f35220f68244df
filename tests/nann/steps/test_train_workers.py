"""Two workers under TF_CONFIG on loopback train what one worker trains on the same global batch, adversarial part included.

They differ by the order of sums alone, in the last bit of a float32. An activation or a perturbation that lies within that of zero may
have another sign for two workers than for one, and then a few weights go other ways by a fraction of the learning rate; hence a rate at
which that does not show.
"""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[3]
OPTIONS = {
    **{"emb_dim": 8, "num_neg": 8, "max_steps": 20, "warmup_steps": 0, "max_length": 10, "log_steps": 1, "validate_users": 20},
    **{"validations": 1, "xla": False, "negatives": "shared", "adv_eps": 0.01, "learning_rate": 3e-4},
}


def start(dataset: Path, model: Path, batch_size: int, **environment: str) -> subprocess.Popen:
    code = (
        "from pathlib import Path; from nann.config import TrainConfig; from nann.steps.train import train; import os\n"
        f"train(dataset=Path({str(dataset)!r}), model=Path({str(model)!r}), config=TrainConfig(batch_size={batch_size}, **{OPTIONS!r}))\n"
        "os._exit(0)"
    )
    variables = {**os.environ, "PYTHONPATH": str(REPOSITORY), **environment}
    return subprocess.Popen([sys.executable, "-c", code], env=variables, stderr=subprocess.PIPE, text=True)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def losses(model: Path, name: str = "loss") -> list[float]:
    return [record[name] for record in json.loads((model / "training.json").read_text())]


def test_two_workers_train_as_one(small_dataset: Path, tmp_path: Path) -> None:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    processes = [
        start(
            small_dataset,
            tmp_path / "two",
            16,
            TF_CONFIG=json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}),
        )
        for index in range(2)
    ]
    for process in processes:
        _, log = process.communicate(timeout=240)
        assert process.returncode == 0, log[-3000:]
    one = start(small_dataset, tmp_path / "one", 32)
    _, log = one.communicate(timeout=240)
    assert one.returncode == 0, log[-3000:]
    assert len(losses(tmp_path / "one")) == 20
    np.testing.assert_allclose(losses(tmp_path / "two"), losses(tmp_path / "one"), rtol=0, atol=1e-5)
    divergences = losses(tmp_path / "one", "divergence")
    assert min(divergences) > 1e-4  # the adversarial part does something
    np.testing.assert_allclose(losses(tmp_path / "two", "divergence"), divergences, rtol=0, atol=1e-5)
    assert losses(tmp_path / ".two.worker-1") == losses(tmp_path / "two")

"""Two workers under TF_CONFIG on loopback train what one worker trains on the same global batch, adversarial part included.

They differ by the order of sums alone, in the last bit of a float32. An activation or a perturbation that lies within that of zero may
have another sign for two workers than for one, and then a few weights go other ways by a fraction of the learning rate; hence a rate at
which that does not show.
"""

import json
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

OPTIONS = {
    # each replica draws what it leaves out for itself
    "dropout": 0.0,
    "id_dropout": 0.0,
    **{
        "emb_dim": 8,
        "memory": "none",
        "num_neg": 8,
        "max_steps": 20,
        "warmup_steps": 0,
        "max_length": 10,
        "log_steps": 1,
        "validate_users": 20,
        "checkpoint_seconds": 1e-9,
    },
    **{"validations": 1, "xla": False, "negatives": "shared", "adv_eps": 0.01, "learning_rate": 3e-4},
}


# Kills the process after the second checkpoint of a worker, the first of another: what is left of a crash at an unlucky moment.
CRASH = """
from nann.training import checkpoints
saves, save = [], checkpoints.tf.train.CheckpointManager.save
def counting(self, **options):
    if len(saves) == {number}: os._exit(9)
    saves.append(save(self, **options))
checkpoints.tf.train.CheckpointManager.save = counting
"""


def start(server: Any, dataset: Path, model: Path, batch_size: int, *, crash_at: int | None = None, **environment: str) -> Any:
    options = OPTIONS | {"batch_size": batch_size}
    code = (
        "import logging, os; logging.basicConfig(level=logging.INFO)\n"
        "from pathlib import Path; from nann.config import TrainConfig; from nann.steps.train import train\n"
        + ("" if crash_at is None else CRASH.format(number=crash_at))
        + f"train(dataset=Path({str(dataset)!r}), model=Path({str(model)!r}), config=TrainConfig(**{options!r}))\n"
        "os._exit(0)"
    )
    return server.start(code, environment=environment)


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def start_two(server: Any, dataset: Path, model: Path, *, crashes: tuple[int | None, int | None] = (None, None)) -> list[Any]:
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    positions = [json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}) for index in range(2)]
    both = zip(crashes, positions, strict=True)
    return [start(server, dataset, model, 16, crash_at=crash, TF_CONFIG=position) for crash, position in both]


def finish(process: Any) -> str:
    done = process.finish(240)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stderr


def losses(model: Path, name: str = "loss") -> list[float]:
    return [record[name] for record in json.loads((model / "training.json").read_text())]


@pytest.fixture(scope="module")
def two(fork_server: Any, small_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    model = tmp_path_factory.mktemp("workers") / "two"
    for process in start_two(fork_server, small_dataset, model):
        finish(process)
    return model


def test_two_workers_train_as_one(fork_server: Any, small_dataset: Path, two: Path, tmp_path: Path) -> None:
    finish(start(fork_server, small_dataset, tmp_path / "one", 32))
    assert len(losses(tmp_path / "one")) == 20
    np.testing.assert_allclose(losses(two), losses(tmp_path / "one"), rtol=0, atol=1e-5)
    divergences = losses(tmp_path / "one", "divergence")
    assert min(divergences) > 1e-4  # the adversarial part does something
    np.testing.assert_allclose(losses(two, "divergence"), divergences, rtol=0, atol=1e-5)
    assert losses(two.with_name(".two.worker-1")) == losses(two)


@pytest.mark.slow
def test_killed_workers_go_on_from_the_step_all_have_saved(fork_server: Any, small_dataset: Path, two: Path, tmp_path: Path) -> None:
    first, second = start_two(fork_server, small_dataset, tmp_path / "killed", crashes=(None, 1))
    assert second.wait(240) == 9
    first.kill()
    logs = [finish(process) for process in start_two(fork_server, small_dataset, tmp_path / "killed")]
    assert all("resuming from step 1 of 20" in log for log in logs), logs[0][-3000:]
    assert losses(tmp_path / "killed") == losses(two)
    assert losses(tmp_path / ".killed.worker-1") == losses(two)

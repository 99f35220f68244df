"""Checkpoints of a training: the newest is taken up where one was killed, by all workers at the same step."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import tensorflow as tf


class Checkpoints:
    """What a training needs to go on where it was killed.

    Several workers (`tf.distribute.MultiWorkerMirroredStrategy`) save at the same steps, each in a directory of its own, since reading a
    variable may take all of them. One that was killed while the others saved lacks the newest step, so each keeps two, and all go on from
    the newest that everyone has. Every method is called by all workers, in the same order.

    Args:
        tracked: what is saved.
        directory: of this worker.
        strategy: that of the training.
    """

    def __init__(self, tracked: tf.train.Checkpoint, directory: Path, strategy: tf.distribute.Strategy) -> None:
        self._tracked, self._directory, self._strategy = tracked, directory, strategy
        cluster = strategy.cluster_resolver.cluster_spec().as_dict() if strategy.cluster_resolver else {}
        self._workers = max(1, len(cluster.get("worker", [])))
        self._own = int(strategy.cluster_resolver.task_id or 0) if self._workers > 1 else 0
        self._manager = self._new_manager()

    def _new_manager(self) -> tf.train.CheckpointManager:
        return tf.train.CheckpointManager(self._tracked, str(self._directory), max_to_keep=min(self._workers, 2))

    def restore(self) -> bool:
        """Takes up the newest step that all workers have saved; False when there is none."""
        saved = [int(path.rpartition("-")[2]) for path in self._manager.checkpoints]
        step = int(self._of_all(max(saved, default=0)).min())
        if not self._of_all(int(step in saved)).all():
            shutil.rmtree(self._directory, ignore_errors=True)
            self._manager = self._new_manager()
            return False
        chosen = self._manager.checkpoints[saved.index(step)]
        if step != max(saved):
            # The newer one is of a course that the others have not taken.
            tf.train.update_checkpoint_state(str(self._directory), chosen, all_model_checkpoint_paths=[chosen])
            self._manager = self._new_manager()
        self._tracked.restore(chosen).assert_consumed()
        return True

    def save(self, step: int, *, due: bool) -> None:
        """Saves after ``step`` where it is ``due`` by the first worker's clock."""
        if self._of_all(int(due))[0]:
            self._manager.save(checkpoint_number=step)

    def _of_all(self, value: int) -> np.ndarray:
        """[workers] int64: what each worker gave."""
        given = np.zeros(self._workers, np.int64)
        given[self._own] = value
        if self._workers == 1:
            return given
        return np.asarray(self._sum(tf.constant(given)))

    @tf.function(autograph=False)
    def _sum(self, given: tf.Tensor) -> tf.Tensor:
        # Each of a worker's replicas gives the same.
        replicas = self._strategy.num_replicas_in_sync // self._workers
        return self._strategy.reduce(tf.distribute.ReduceOp.SUM, self._strategy.run(lambda: given), axis=None) // replicas

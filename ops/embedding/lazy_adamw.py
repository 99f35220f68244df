"""AdamW whose step costs what the batch touches, not what the vocabulary holds.

Adam: Kingma and Ba, arXiv 1412.6980, algorithm 1. Decoupled weight decay: Loshchilov and Hutter, arXiv 1711.05101, algorithm 2. The lazy
form for embedding tables updates value, moments and decay of the touched rows only; a row's moments therefore do not decay while it is
not seen, which differs from dense Adam and is what keeps the cost independent of the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf
from tensorflow.python.trackable.base import no_automatic_dependency_tracking

from ops.embedding.reduced import sum_of_all
from ops.embedding.row_updates import AdamOptions, adam, adam_correction, change_all, change_rows, option_vector, update_rows
from ops.embedding.slots import make_slot, saved_by_optimizer

SEEDS_APART = 8  # of two variables; a variable and its moments round by consecutive seeds


class LazyAdamW(tf.Module):
    """AdamW for dense variables and, lazily by row, for embedding tables.

    Create it under the strategy's scope; call `apply` in a replica context. Slots are ordinary variables, so `tf.train.Checkpoint`
    saves and restores them.

    Args:
        variables: the variables to train, float32; tables bfloat16, too.
        weight_decay: decoupled decay per step, multiplied by the learning rate; applied to matrices and tables, not to vectors.
        beta_1, beta_2: decay rates of the moments.
        epsilon: added to the root of the second moment.
        fused: update the touched rows of matrices by one native op each, where the library is there.
        stochastic_rounding: round rows of bfloat16 tables, and of their moments, up or down by chance, so that small steps count; by
            stock ops. Otherwise they are rounded to the nearest.
    """

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        *,
        weight_decay: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        fused: bool = True,
        stochastic_rounding: bool = False,
    ) -> None:
        super().__init__(name="lazy_adamw")
        self._fused, self._stochastic_rounding = fused, stochastic_rounding
        self._weight_decay, self._beta_1, self._beta_2, self._epsilon = weight_decay, beta_1, beta_2, epsilon
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step", aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA)
        first, second = ([make_slot(variable, name) for variable in variables] for name in ("first_moment", "second_moment"))
        self._owned = [slot for slots in (first, second) for slot in saved_by_optimizer(slots, variables)]
        self._set_variables(list(variables), first, second)

    @no_automatic_dependency_tracking
    def _set_variables(self, variables: list[tf.Variable], first: list[tf.Variable], second: list[tf.Variable]) -> None:
        self._variables, self._first, self._second = variables, first, second

    @property
    def slots(self) -> tuple[tf.Variable, ...]:
        """Everything the optimizer remembers: the step count, the first moments and the second moments, in the order of the variables;
        without those of an `EmbeddingVariable`, which has them itself."""
        return self.step, *self._owned

    def apply(self, gradients: Sequence[tf.Tensor | tf.IndexedSlices], learning_rate: tf.Tensor) -> None:
        """Sums the gradients over the replicas and updates every variable in place.

        Args:
            gradients: one per variable, a dense tensor of its shape or `tf.IndexedSlices` of its rows (repeated indices are summed).
            learning_rate: scalar float32.

        Raises:
            ValueError: the number of gradients is not the number of variables.
        """
        if len(gradients) != len(self._variables):
            raise ValueError(f"needs one gradient per variable: {len(self._variables)} variables, {len(gradients)} gradients")
        context = tf.distribute.get_replica_context()
        if context.num_replicas_in_sync > 1:
            gradients = sum_of_all(list(gradients), self._variables)
        context.merge_call(self._update_all, args=(list(gradients), learning_rate))

    def _update_all(
        self, strategy: tf.distribute.Strategy, gradients: Sequence[tf.Tensor | tf.IndexedSlices], learning_rate: tf.Tensor
    ) -> None:
        strategy.extended.update(self.step, lambda step: step.assign_add(1))
        step = self.step.read_value()
        correction = adam_correction(self._beta_1, self._beta_2, tf.cast(step, tf.float32))
        given = zip(self._variables, self._first, self._second, gradients, strict=True)
        for number, (variable, first, second, gradient) in enumerate(given):
            seed = tf.stack([tf.constant(SEEDS_APART * number, tf.int64), step])
            strategy.extended.update(variable, self._update, args=(first, second, gradient, learning_rate, correction, seed))

    def _update(
        self,
        variable: tf.Variable,
        first: tf.Variable,
        second: tf.Variable,
        gradient: tf.Tensor | tf.IndexedSlices,
        learning_rate: tf.Tensor,
        correction: tf.Tensor,
        seed: tf.Tensor,
    ) -> None:
        is_matrix, variables = len(variable.shape) > 1, [variable, first, second]
        decay = learning_rate * self._weight_decay if self._weight_decay and is_matrix else None
        step = AdamOptions(learning_rate * correction, self._beta_1, self._beta_2, self._epsilon, decay)
        if not isinstance(gradient, tf.IndexedSlices):
            change_all(variables, gradient, lambda values, *old: adam(step, values, *old), seed if self._stochastic_rounding else None)
        elif self._stochastic_rounding and variable.dtype == tf.bfloat16:
            change_rows(variables, gradient, lambda values, *old: adam(step, values, *old), tf.float32, seed)
        elif self._fused and len(variable.shape) == 2:
            options = option_vector(
                learning_rate=step.rate,
                beta_1=self._beta_1,
                beta_2=self._beta_2,
                epsilon=self._epsilon,
                decay=self._weight_decay,
                decay_rate=learning_rate,
            )
            update_rows("adam", variable, [first, second], gradient, options)
        else:
            wide = tf.float32 if variable.dtype.size == 2 else None
            change_rows(variables, gradient, lambda values, *old: adam(step, values, *old), wide)

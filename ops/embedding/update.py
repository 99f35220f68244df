"""Optimizers that go from the gradient of pooled rows to updated rows and slots in one pass, touching only the rows in the batch.

`apply` takes the features of a lookup and the gradient of its output; `apply_rows` takes `tf.IndexedSlices`. Rows not in the batch keep
their bits, those of the slots too: what stock TensorFlow does for sparse gradients with SGD, Adagrad and FTRL of `tf.compat.v1.train`, and
the lazy form for Adam and AdamW, whose moments do not decay while a row is not seen.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

import tensorflow as tf
from tensorflow.python.trackable.base import no_automatic_dependency_tracking

from ops.embedding import composite
from ops.embedding.features import Feature, Group, make_group
from ops.embedding.grouped import native_library
from ops.embedding.row_updates import adam_correction, option_vector, update_rows
from ops.embedding.slots import make_slot, saved_by_optimizer


class FusedOptimizer(tf.Module, abc.ABC):
    """Base: slots, one set per variable; options in the order of the op.

    Args:
        variables: the tables to train (all parts), of one of the float dtypes.
        learning_rate: step size; a number, a scalar tensor or a variable.
    """

    NAME: ClassVar[str]
    INITIAL_SLOTS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, variables: Sequence[tf.Variable], learning_rate: Any) -> None:
        super().__init__(name=f"fused_{self.NAME}")
        self.learning_rate = learning_rate
        made = [[make_slot(variable, slot, self._initial(slot)) for variable in variables] for slot in self.INITIAL_SLOTS]
        self._owned = [saved_by_optimizer(slots, variables) for slots in made]
        self._set_variables(list(variables), made)
        self.step = tf.Variable(0, dtype=tf.int64, trainable=False, name="step")

    @no_automatic_dependency_tracking
    def _set_variables(self, variables: list[tf.Variable], slots: list[list[tf.Variable]]) -> None:
        self._variables, self._slots = variables, slots

    def _initial(self, slot: str) -> float:
        return 0.0

    @abc.abstractmethod
    def _options(self, rate: tf.Tensor) -> dict[str, Any]:
        """Options of the op by name; those left out are 0."""

    def slots_of(self, variable: tf.Variable) -> list[tf.Variable]:
        """The slots of a variable, each of its shape.

        Raises:
            ValueError: the optimizer was not created for it.
        """
        for number, known in enumerate(self._variables):
            if known is variable:
                return [slots[number] for slots in self._slots]
        raise ValueError(f"{variable.name} is none of the variables this optimizer was created for")

    def _option_vector(self) -> tf.Tensor:
        rate = tf.cast(tf.convert_to_tensor(self.learning_rate), tf.float64)
        return option_vector(**self._options(rate))

    def apply(self, features: Sequence[Feature], gradients: tf.Tensor | Sequence[tf.Tensor], *, concat: bool = False) -> None:
        """One step from the gradients of `grouped_lookup`'s outputs for the same features.

        Args:
            features: of the lookup; all tables are variables of this optimizer.
            gradients: [B, sum of dims] if ``concat``, else [B_f, dim_f] per feature.
            concat: as in the lookup.

        Raises:
            ValueError: a table is no variable, or is shared by features with different ``max_norm``.
        """
        group = make_group(features, concat=concat)
        if not group.resource:
            raise ValueError("only tables that are variables can be updated; pass the variables, not their values")
        if len({id(table) for table in group.tables}) < len(group.tables):
            raise ValueError("features that share a table need the same max_norm and partition_strategy to be updated together")
        given = [gradients] if concat else list(gradients)
        slots = [self.slots_of(table) for table in group.tables]
        self.step.assign_add(1)
        options = self._option_vector()
        library = native_library(group.tables)
        if library is None:
            self._apply_composite(group, given, options)
            return
        library.nann_fused_embedding_update(
            tables=[table.handle for table in group.tables],
            ids=group.ids,
            segments=group.segments,
            dense_shapes=group.dense_shapes,
            weights=group.weights,
            gradients=[tf.convert_to_tensor(gradient) for gradient in given],
            slots=[of_table[number].handle for number in range(len(self.INITIAL_SLOTS)) for of_table in slots],
            options=options,
            optimizer=self.NAME,
            **group.attributes(),
        )

    def _apply_composite(self, group: Group, gradients: list[tf.Tensor], options: tf.Tensor) -> None:
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(group.tables)
            outputs = composite.lookup(group)
        found = tape.gradient(outputs, group.tables, output_gradients=gradients, unconnected_gradients=tf.UnconnectedGradients.NONE)
        for table, gradient in zip(group.tables, found, strict=True):
            if gradient is not None:
                update_rows(self.NAME, table, self.slots_of(table), gradient, options)

    def apply_rows(self, gradients: Sequence[tuple[tf.IndexedSlices, tf.Variable]]) -> None:
        """One step from row gradients; repeated indices are summed first.

        Args:
            gradients: pairs of a gradient, values [n, dim] at rows [n], and its variable.
        """
        self.step.assign_add(1)
        options = self._option_vector()
        for gradient, variable in gradients:
            update_rows(self.NAME, variable, self.slots_of(variable), gradient, options)


class FusedSgd(FusedOptimizer):
    """Stochastic gradient descent."""

    NAME = "sgd"

    def _options(self, rate: tf.Tensor) -> dict[str, Any]:
        return {"learning_rate": rate}


class FusedAdagrad(FusedOptimizer):
    """Adagrad, Duchi et al., JMLR 12 (2011): each value's rate falls with the root of its sum of squared gradients.

    Args:
        variables, learning_rate: as `FusedOptimizer`.
        initial_accumulator_value: start of the sums.
        epsilon: added to the root.
    """

    NAME = "adagrad"
    INITIAL_SLOTS = ("accumulator",)

    def __init__(
        self, variables: Sequence[tf.Variable], learning_rate: Any = 0.001, *, initial_accumulator_value: float = 0.1, epsilon: float = 0.0
    ) -> None:
        self._start, self._epsilon = initial_accumulator_value, epsilon
        super().__init__(variables, learning_rate)

    def _initial(self, slot: str) -> float:
        return self._start

    def _options(self, rate: tf.Tensor) -> dict[str, Any]:
        return {"learning_rate": rate, "epsilon": self._epsilon}


class FusedLazyAdamW(FusedOptimizer):
    """Adam, arXiv 1412.6980, lazily by row, with the decoupled weight decay of arXiv 1711.05101; without decay it is lazy Adam.

    Args:
        variables, learning_rate: as `FusedOptimizer`.
        weight_decay: times the learning rate, taken off the touched rows.
        beta_1, beta_2: decay rates of the moments.
        epsilon: added to the root of the second moment.
    """

    NAME = "adam"
    INITIAL_SLOTS = ("first_moment", "second_moment")

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: Any = 0.001,
        *,
        weight_decay: float = 0.0,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
    ) -> None:
        self._decay, self._beta_1, self._beta_2, self._epsilon = weight_decay, beta_1, beta_2, epsilon
        super().__init__(variables, learning_rate)

    def _options(self, rate: tf.Tensor) -> dict[str, Any]:
        count = tf.cast(self.step.read_value(), tf.float64)
        return {
            "learning_rate": rate * adam_correction(self._beta_1, self._beta_2, count),
            "beta_1": self._beta_1,
            "beta_2": self._beta_2,
            "epsilon": self._epsilon,
            "decay": self._decay,
            "decay_rate": rate,
        }


class FusedFtrl(FusedOptimizer):
    """FTRL-proximal, McMahan et al., KDD 2013, algorithm 1, as `tf.compat.v1.train.FtrlOptimizer` without shrinkage.

    Args:
        variables, learning_rate: as `FusedOptimizer`.
        learning_rate_power: at most 0.
        initial_accumulator_value: start of the sums of squares.
        l1, l2: strengths of the regularization.
    """

    NAME = "ftrl"
    INITIAL_SLOTS = ("accumulator", "linear")

    def __init__(
        self,
        variables: Sequence[tf.Variable],
        learning_rate: Any = 0.001,
        *,
        learning_rate_power: float = -0.5,
        initial_accumulator_value: float = 0.1,
        l1: float = 0.0,
        l2: float = 0.0,
    ) -> None:
        self._power, self._start, self._l1, self._l2 = learning_rate_power, initial_accumulator_value, l1, l2
        super().__init__(variables, learning_rate)

    def _initial(self, slot: str) -> float:
        return self._start if slot == "accumulator" else 0.0

    def _options(self, rate: tf.Tensor) -> dict[str, Any]:
        return {"learning_rate": rate, "l1": self._l1, "l2": self._l2, "power": self._power}

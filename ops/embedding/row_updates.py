"""One optimizer step of the rows of a variable that have a gradient: by the native op, or by stock ops with the same formulas."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import tensorflow as tf

from ops.embedding.features import is_variable
from ops.embedding.grouped import native_library
from ops.embedding.rounding import round_stochastically

OPTIONS = ("learning_rate", "beta_1", "beta_2", "epsilon", "decay", "decay_rate", "l1", "l2", "power", "reserved")


Numbers: TypeAlias = dict[str, tf.Tensor]


class AdamOptions(NamedTuple):
    """The numbers of a step of Adam, arXiv 1412.6980, with the decoupled weight decay of arXiv 1711.05101.

    Attributes:
        rate: step size times `adam_correction`.
        beta_1, beta_2: decay rates of the moments.
        epsilon: added to the root of the second moment.
        decay: times the old value, taken off; None: no weight decay.
    """

    rate: Any
    beta_1: Any
    beta_2: Any
    epsilon: Any
    decay: Any = None


def adam_correction(beta_1: float, beta_2: float, step: tf.Tensor) -> tf.Tensor:
    """Both bias corrections of step 1, 2, ..., a float scalar, folded into the step size: arXiv 1412.6980, end of section 2."""
    return tf.sqrt(1.0 - beta_2**step) / (1.0 - beta_1**step)


def adam(options: AdamOptions, gradient: tf.Tensor, old: tf.Tensor, first: tf.Tensor, second: tf.Tensor) -> tuple[tf.Tensor, ...]:
    """New value, first and second moment of a variable, or of some of its rows, all of one shape."""
    first += (1.0 - options.beta_1) * (gradient - first)
    second += (1.0 - options.beta_2) * (tf.square(gradient) - second)
    update = options.rate * first / (tf.sqrt(second) + options.epsilon)
    if options.decay is not None:
        update += options.decay * old
    return old - update, first, second


def option_vector(**given: Any) -> tf.Tensor:
    """[10] float64, what the native ops take: `OPTIONS` in their order, those left out 0."""
    return tf.stack([tf.cast(given.get(name, 0.0), tf.float64) for name in OPTIONS])


def update_rows(optimizer: str, table: Any, slots: Sequence[Any], gradient: tf.IndexedSlices, options: tf.Tensor) -> None:
    """One step of the rows of one variable that have a gradient, by the native op where it is there.

    Args:
        optimizer: "sgd", "adagrad", "adam" or "ftrl".
        table: variable [rows, dim].
        slots: of ``table``'s shape; none for sgd, one for adagrad, two for the others.
        gradient: values [n, dim] at indices [n], repeated ones are summed.
        options: of `option_vector`.
    """
    library = native_library([table]) if is_variable(table) else None
    if library is not None:
        library.nann_fused_embedding_update_rows(
            table=table.handle,
            slots=[slot.handle for slot in slots],
            indices=gradient.indices,
            values=gradient.values,
            options=options,
            optimizer=optimizer,
        )
        return
    wide = tf.float64 if table.dtype == tf.float64 else tf.float32
    numbers = dict(zip(OPTIONS, tf.unstack(tf.cast(options, wide)), strict=True))
    change_rows([table, *slots], gradient, lambda values, *old: _RULES[optimizer](numbers, values, *old), wide)


def change_rows(
    variables: Sequence[Any],
    gradient: tf.IndexedSlices,
    rule: Callable[..., Sequence[tf.Tensor]],
    wide: tf.DType | None = None,
    seed: tf.Tensor | None = None,
) -> None:
    """Puts what a rule makes of some rows in their place; the other rows keep their bits.

    Args:
        variables: of one shape.
        gradient: of the first one; repeated indices are summed.
        rule: called with the gradient of the distinct rows and these rows of every variable, [n, ...] each; returns the new rows.
        wide: dtype to compute in; None: as it is.
        seed: [2] of stochastic rounding, see `round_stochastically`, for bfloat16 variables; None: to the nearest.
    """
    rows, positions = tf.unique(gradient.indices)
    given_values = gradient.values if wide is None else tf.cast(gradient.values, wide)
    values = tf.math.unsorted_segment_sum(given_values, positions, tf.size(rows))
    given = [values, *(tf.gather(variable, rows) for variable in variables)]
    changed = rule(*(given if wide is None else [tf.cast(each, wide) for each in given]))
    for variable, stored in zip(variables, _stored(variables, changed, seed), strict=True):
        variable.scatter_update(tf.IndexedSlices(stored, rows))


def change_all(
    variables: Sequence[Any], gradient: tf.Tensor, rule: Callable[..., Sequence[tf.Tensor]], seed: tf.Tensor | None = None
) -> None:
    """Puts what a rule makes of variables in their place; arguments as `change_rows`. Variables of 16 bits are computed in float32."""
    given = [gradient, *(variable.read_value() for variable in variables)]
    changed = rule(*(tf.cast(each, tf.float32) if each.dtype.size == 2 else each for each in given))
    for variable, stored in zip(variables, _stored(variables, changed, seed), strict=True):
        variable.assign(stored)


def _stored(variables: Sequence[Any], values: Sequence[tf.Tensor], seed: tf.Tensor | None) -> list[tf.Tensor]:
    """Values in the variables' dtype: of bfloat16 and with a seed rounded by chance, each by a seed of its own, else to the nearest."""
    return [
        round_stochastically(value, tf.stack([seed[0] + number, seed[1]]))
        if seed is not None and variable.dtype == tf.bfloat16
        else tf.cast(value, variable.dtype)
        for number, (variable, value) in enumerate(zip(variables, values, strict=True))
    ]


def _sgd(options: Numbers, gradient: tf.Tensor, old: tf.Tensor) -> tuple[tf.Tensor, ...]:
    return (old - options["learning_rate"] * gradient,)


def _adagrad(options: Numbers, gradient: tf.Tensor, old: tf.Tensor, accumulator: tf.Tensor) -> tuple[tf.Tensor, ...]:
    accumulator += gradient**2
    return old - options["learning_rate"] * gradient / (tf.sqrt(accumulator) + options["epsilon"]), accumulator


def _adam(options: Numbers, *given: tf.Tensor) -> tuple[tf.Tensor, ...]:
    decay = options["decay_rate"] * options["decay"]
    return adam(AdamOptions(options["learning_rate"], options["beta_1"], options["beta_2"], options["epsilon"], decay), *given)


def _ftrl(options: Numbers, gradient: tf.Tensor, old: tf.Tensor, before: tf.Tensor, linear: tf.Tensor) -> tuple[tf.Tensor, ...]:
    rate, power = options["learning_rate"], options["power"]
    accumulator = before + gradient**2
    strength = accumulator**-power
    linear += gradient - (strength - before**-power) / rate * old
    shrunk = tf.sign(linear) * options["l1"] - linear
    new = tf.where(tf.abs(linear) > options["l1"], shrunk / (strength / rate + 2 * options["l2"]), tf.zeros_like(old))
    return new, accumulator, linear


_RULES: dict[str, Callable[..., tuple[tf.Tensor, ...]]] = {"sgd": _sgd, "adagrad": _adagrad, "adam": _adam, "ftrl": _ftrl}

"""`get_embedding_variable`: an `EmbeddingVariable` as `tf.compat.v1.get_variable` gives variables, with the arguments of DeepRec's."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import tensorflow as tf

from ops.embedding.variable.embedding_variable import EmbeddingVariable
from ops.embedding.variable.options import EmbeddingVariableOption, GlobalStepEvict

_v1 = tf.compat.v1
_CAPACITY = 1024  # rows before the first growth, and what a partitioner is told
_HELD = "_nann_embedding_variables"  # attribute of a graph: its variables by name


def get_embedding_variable(
    name: str,
    embedding_dim: int,
    key_dtype: tf.DType = tf.int64,
    value_dtype: tf.DType | None = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Iterable[str] | None = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    custom_getter: Any = None,
    constraint: Any = None,
    steps_to_live: int | None = None,
    init_data_source: Any = None,
    ev_option: EmbeddingVariableOption | None = None,
) -> EmbeddingVariable:
    """An `EmbeddingVariable` of a name.

    In a TF1 graph, variable scopes apply as to `tf.compat.v1.get_variable`: their name, initializer and partitioner, and whether a variable
    that is there already is taken again (``reuse``). In eager mode each call makes a new one, as `tf.compat.v1.get_variable` does.

    Args:
        name: within the variable scope.
        embedding_dim: size of a row.
        key_dtype: int64, int32 (kept as int64) or string.
        value_dtype: of the rows; None: float32.
        initializer: of new rows, called with (shape, dtype); None: of ``ev_option``, else of the scope, else uniform in +-1/sqrt(dim).
        trainable: whether optimizers see the table.
        collections: of the graph, for the table's variables, besides the usual ones.
        partitioner: as for `tf.compat.v1.get_variable`: its number of parts along the rows; None: that of the scope.
        steps_to_live: short for ``ev_option`` with ``evict_option=GlobalStepEvict(steps_to_live)``.
        ev_option: filter, eviction and start values.
        regularizer, caching_device, validate_shape, custom_getter, constraint, init_data_source: are there for programs that name them with
            their defaults.

    Returns:
        The variable, to be ``params`` of the lookups of `ops`.

    Raises:
        ValueError: an argument is none of its values, or a name is there already, or is not there, against the scope's ``reuse``.
    """
    _refuse(
        validate_shape,
        regularizer=regularizer,
        caching_device=caching_device,
        custom_getter=custom_getter,
        constraint=constraint,
        init_data_source=init_data_source,
    )
    scope, option = _v1.get_variable_scope(), _option(ev_option, steps_to_live)
    partitioner, dtype = partitioner or scope.partitioner, tf.as_dtype(value_dtype or tf.float32)
    options: dict[str, Any] = {
        "dtype": dtype,
        "key_dtype": tf.int64 if key_dtype == tf.int32 else tf.as_dtype(key_dtype),
        "initializer": initializer or (None if option.init_option.initializer else scope.initializer),
        "option": option,
        "initial_capacity": _CAPACITY,
        "partition_num": None if partitioner is None else parts_by(partitioner, embedding_dim, dtype),
        "trainable": trainable,
        "name": f"{scope.name}/{name}" if scope.name else name,
    }
    with tf.init_scope(), _v1.name_scope(None):
        if tf.executing_eagerly():
            made: EmbeddingVariable = EmbeddingVariable(embedding_dim, **options)
            return made
        return _of_graph(scope.reuse, embedding_dim, options, collections)


def _refuse(validate_shape: bool, **arguments: Any) -> None:
    for argument, value in arguments.items():
        if value is not None:
            raise ValueError(f"{argument} must be None, got {value!r}: an EmbeddingVariable has none")
    if not validate_shape:
        raise ValueError("validate_shape must be True: the size of a row is known")


def _of_graph(reuse: Any, dim: int, options: dict[str, Any], collections: Iterable[str] | None) -> EmbeddingVariable:
    """The variable of a name in the current graph: that which is there, or a new one."""
    name = options["name"]
    graph = _v1.get_default_graph()
    if not hasattr(graph, _HELD):
        setattr(graph, _HELD, {})
    known: dict[str, EmbeddingVariable] = getattr(graph, _HELD)
    if name in known:
        return _again(known[name], name, dim, options, reuse=reuse)
    if reuse is True:
        raise ValueError(f"variable {name!r} does not exist, and the scope says reuse=True; make it first, or say tf.AUTO_REUSE")
    made: EmbeddingVariable = EmbeddingVariable(dim, **options)
    known[name] = made
    for collection in collections or ():
        if collection not in (_v1.GraphKeys.GLOBAL_VARIABLES, _v1.GraphKeys.TRAINABLE_VARIABLES):
            for table in made.tables:
                _v1.add_to_collection(collection, table)
    return made


def _again(found: EmbeddingVariable, name: str, dim: int, options: dict[str, Any], *, reuse: Any) -> EmbeddingVariable:
    """The variable of a name, if the scope and the arguments agree with it."""
    if not reuse:
        raise ValueError(f"variable {name!r} exists already; take it again within a variable scope with reuse=True or tf.AUTO_REUSE")
    wanted, there = (dim, options["dtype"], options["key_dtype"]), (found.dim, found.dtype, found.key_dtype)
    if wanted != there:
        raise ValueError(f"variable {name!r} has (dim, dtype, key_dtype) {there}, got {wanted}")
    return found


def _option(option: EmbeddingVariableOption | None, steps_to_live: int | None) -> EmbeddingVariableOption:
    option = option or EmbeddingVariableOption()
    if not isinstance(option, EmbeddingVariableOption):
        raise ValueError(f"ev_option must be an EmbeddingVariableOption, got {option!r}")
    if steps_to_live is None:
        return option
    if option.evict_option is not None:
        raise ValueError("give steps_to_live or an evict_option, not both: each says when keys go")
    return replace(option, evict_option=GlobalStepEvict(steps_to_live))


def parts_by(partitioner: Any, dim: int, dtype: tf.DType) -> int:
    """The parts that a partitioner of a variable scope makes of a new table.

    Raises:
        ValueError: it parts the columns, too.
    """
    parts = list(partitioner(shape=tf.TensorShape([_CAPACITY, dim]), dtype=tf.as_dtype(dtype)))
    if any(part != 1 for part in parts[1:]):
        raise ValueError(f"a partitioner must part the rows alone, got {parts} parts along the axes")
    return int(parts[0])

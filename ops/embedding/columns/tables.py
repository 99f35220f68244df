"""The tables of embedding columns: of fixed size for TensorFlow's categorical columns, growing for ours.

In eager mode, and in all its functions, a table's variables belong to the table. In a TF1 graph a table of fixed size is made by
`tf.compat.v1.get_variable` in each layer, as TensorFlow's columns do it, so names, scopes, reuse and partitioners are the same; one that
grows is there once per graph.
"""

from __future__ import annotations

import weakref
from typing import Any

import tensorflow as tf

from ops.embedding.columns.categorical import CategoricalColumn
from ops.embedding.variable import EmbeddingVariable
from ops.embedding.variable.by_name import parts_by

_v1 = tf.compat.v1
_HELD = "_nann_column_tables"  # attribute of a graph: growing tables by name


def eager_outside() -> bool:
    """Whether the outermost context is eager: also within a `tf.function` there."""
    with tf.init_scope():
        return bool(tf.executing_eagerly())


def initializer_of(given: Any) -> Any:
    """An initializer as a callable of (shape, dtype); TensorFlow takes its class, too."""
    return given() if isinstance(given, type) else given


class ColumnTable:
    """A table [num_buckets, dimension] float32.

    Args:
        shape: [num_buckets, dimension].
        initializer: called with (shape, dtype).
        trainable: whether optimizers see it.
        checkpoint: file and name of the tensor in it that the table starts from; None: from the initializer.
        scope: name under which its variables are found in eager mode.
        shared_name: graph collection in which columns that share the table find it; None: it is not shared.
        variable_name: within the variable scope.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        *,
        initializer: Any,
        trainable: bool = True,
        checkpoint: tuple[str, str] | None = None,
        scope: str,
        shared_name: str | None = None,
        variable_name: str = "embedding_weights",
    ) -> None:
        self.shape, self._initializer, self.trainable = shape, initializer, trainable
        self._checkpoint, self._scope, self._shared_name, self._name = checkpoint, scope, shared_name, variable_name
        self._eager: tf.Variable | None = None

    def variable(self, weight_collections: list[str] | None = None, trainable: bool = True) -> Any:
        """The variable, or the partitioned one; in a TF1 graph in the current variable scope."""
        if not eager_outside():
            return self._graph_variable(weight_collections, trainable)
        if self._eager is None:
            with tf.init_scope():
                self._eager = tf.Variable(self._start(), trainable=self.trainable, name=f"{self._scope}/{self._name}")
        return self._eager

    def _start(self) -> tf.Tensor:
        if self._checkpoint is None:
            return tf.convert_to_tensor(initializer_of(self._initializer)(self.shape, tf.float32))
        file, name = self._checkpoint
        found = tf.train.load_variable(file, name)
        if found.shape != self.shape:
            raise ValueError(f"tensor {name!r} of checkpoint {file} has shape {found.shape}, the column's table has {self.shape}")
        return tf.constant(found, tf.float32)

    def _graph_variable(self, weight_collections: list[str] | None, trainable: bool) -> Any:
        known = _v1.get_collection(self._shared_name) if self._shared_name else []
        if not known:
            found = _v1.get_variable(
                self._name,
                shape=self.shape,
                dtype=tf.float32,
                initializer=self._initializer,
                trainable=self.trainable and trainable,
                collections=weight_collections,
                use_resource=True,  # the fused op reads it in place, after the rows of growing tables beside it are there
            )
            if self._shared_name:
                _v1.add_to_collection(self._shared_name, found)
        else:
            found = known[0]
            if len(known) > 1 or tuple(found.shape) != self.shape:
                shapes = [tuple(variable.shape) for variable in known]
                raise ValueError(
                    f"collection {self._shared_name!r} must hold one table of shape {self.shape}, got shapes {shapes}; "
                    "give shared_embedding_columns another shared_embedding_collection_name"
                )
        if self._checkpoint is not None:
            file, name = self._checkpoint
            _v1.train.init_from_checkpoint(file, {name: parts_of(found) if hasattr(found, "_variable_list") else found})
        return found


class ScopedTable:
    """Weights that start at 0, made by `tf.compat.v1.get_variable` in the current variable scope, in eager mode too.

    Args:
        shape: of the weights, float32.
        name: within the scope.
    """

    def __init__(self, shape: tuple[int, ...], name: str) -> None:
        self._shape, self._name = shape, name

    def variable(self, weight_collections: list[str] | None = None, trainable: bool = True) -> Any:
        """The variable, or the partitioned one."""
        zeros = _v1.zeros_initializer()
        options = {"trainable": trainable, "collections": weight_collections, "use_resource": True}
        return _v1.get_variable(self._name, self._shape, tf.float32, zeros, **options)


class GrowingColumnTable:
    """An `EmbeddingVariable`, and for an adaptive column its static table.

    Args:
        column: whose keys it has.
        dimension: size of a row.
        initializer: of new rows, called with (shape, dtype); None: of the column's option.
        trainable: whether optimizers see it.
        scope: name of the variables.
        variable_name: after the scope.
    """

    def __init__(
        self,
        column: CategoricalColumn,
        dimension: int,
        *,
        initializer: Any = None,
        trainable: bool = True,
        scope: str,
        variable_name: str = "embedding_weights",
    ) -> None:
        self._column, self._dimension, self._initializer = column, dimension, initializer_of(initializer)
        self.trainable, self._scope, self._name = trainable, scope, variable_name
        self._made: Any = weakref.WeakKeyDictionary()

    def variables(self, scope: Any = None) -> tuple[EmbeddingVariable, tf.Variable | None]:
        """The growing and the static table; the same for all of eager mode, and for all of one TF1 graph.

        Args:
            scope: a variable scope whose name, partitioner and reuse apply where they are made now, in a TF1 graph; None: the table's name.

        Raises:
            ValueError: the scope says that they are there, and they are not, or are others.
        """
        with tf.init_scope(), _v1.name_scope(None):
            place = self if tf.executing_eagerly() else _v1.get_default_graph()
            if place not in self._made:
                self._made[place] = self._make(None, self._scope) if scope is None or place is self else self._in_scope(place, scope)
            found: tuple[EmbeddingVariable, tf.Variable | None] = self._made[place]
            return found

    def _in_scope(self, graph: Any, scope: Any) -> tuple[EmbeddingVariable, tf.Variable | None]:
        """Those of the scope's name in a graph: made by another table if the scope is reused."""
        if not hasattr(graph, _HELD):
            setattr(graph, _HELD, {})
        known, name = getattr(graph, _HELD), f"{scope.name}/{self._name}"
        wanted = (self._column.key_dtype, self._column.hash_bucket_size, self._dimension)
        if scope.reuse and name in known:
            if known[name][1] != wanted:
                raise ValueError(f"table {name!r} has (key dtype, hash_bucket_size, dimension) {known[name][1]}, got {wanted}")
            there: tuple[EmbeddingVariable, tf.Variable | None] = known[name][0]
            return there
        if scope.reuse is True:
            raise ValueError(f"table {name!r} does not exist, and the scope says reuse=True; make it first, or say tf.AUTO_REUSE")
        made = self._make(scope.partitioner, scope.name)
        known[name] = (made, wanted)
        return made

    def _make(self, partitioner: Any, scope: str) -> tuple[EmbeddingVariable, tf.Variable | None]:
        column, dim, name = self._column, self._dimension, f"{scope}/{self._name}"
        parts = column.partition_num or (None if partitioner is None else parts_by(partitioner, dim, tf.float32))
        variable = EmbeddingVariable(
            dim,
            key_dtype=column.key_dtype,
            initializer=self._initializer,
            option=column.option,
            partition_num=parts,
            trainable=self.trainable,
            name=name,
        )
        if column.hash_bucket_size is None:
            return variable, None
        initializer = self._initializer or tf.random_uniform_initializer(-(dim**-0.5), dim**-0.5)
        options = {"use_resource": True} if variable.graph_mode else {}
        make = _v1.Variable if variable.graph_mode else tf.Variable
        start = initializer(tf.TensorShape([column.hash_bucket_size, dim]), tf.float32)
        return variable, make(start, trainable=self.trainable, name=f"{name}_static", **options)


def parts_of(table: Any) -> list[tf.Variable]:
    """The variables of a table, which may be partitioned."""
    if isinstance(table, EmbeddingVariable):
        return list(table.tables)
    return list(table) if hasattr(table, "_variable_list") else [table]

"""`Embedding` and `EmbeddingBag` for Keras 3, over the fused lookup."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from ops.embedding.features import COMBINERS
from ops.embedding.layers.tables import Ids, TableLayer


@tf.keras.utils.register_keras_serializable(package="nann")
class Embedding(TableLayer):
    """`keras.layers.Embedding`, over tables of a fixed number of rows and over such that grow.

    An id that has no row - a negative one, 0 with ``mask_zero``, a key that a growing table has not admitted - gives zeros and gets no
    gradient. An id at or past a table of fixed size is an error; within XLA, which cannot fail, it gives zeros.

    Args:
        input_dim: rows of the table; None: ids are keys and get rows as they come.
        output_dim: size of a row.
        embeddings_initializer: start values of rows. Of a growing table: RandomUniform, RandomNormal (the key decides the values),
            Constant, Zeros or Ones; others in ``option``. With ``shared_rows`` it starts these, and own rows start from them.
        embeddings_regularizer, embeddings_constraint: of a table of fixed size.
        mask_zero: 0 ("" of strings) is padding, and the layer gives a mask.
        key_dtype: of a growing table: "int64", which takes int32 ids, too, or "string".
        option: of a growing table: filter, eviction, start values.
        shared_rows: adaptive embedding: ids without a row of their own share so many rows.
        initial_capacity: rows of a growing table before the first growth.
        seed: of start values by key; None: that of the initializer, or 0.
        fused: False: stock ops, for graphs that must load without the native library.
        **kwargs: of `keras.layers.Layer`: name, dtype, trainable.

    Call arguments:
        inputs: ids [...] int32, int64 or string, dense or ragged.
        training: ids are counted, and those admitted get rows.

    Returns:
        [..., output_dim] of the compute dtype, ragged for ragged ids.

    Raises:
        ValueError: an argument is none of its values, or inputs are no ids.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.supports_masking = self.mask_zero

    def call(self, inputs: Any, training: bool = False) -> Any:
        """See the class."""
        if isinstance(inputs, tf.RaggedTensor):
            return inputs.with_flat_values(self._rows(inputs.flat_values, training))
        if isinstance(inputs, tf.SparseTensor):
            raise ValueError(f"{self.name} gives a row per id, so it takes dense or ragged ids, got sparse ones; EmbeddingBag takes them")
        return self._rows(tf.convert_to_tensor(inputs), training)

    def _rows(self, ids: tf.Tensor, training: bool) -> tf.Tensor:
        self.check_ids(ids.dtype)
        flat = tf.reshape(ids, [-1])
        bags = tf.RaggedTensor.from_row_splits(flat, tf.range(tf.size(flat, tf.int64) + 1), validate=False)
        rows = self.pool(_without(bags, self.padding(flat)), None, combiner="sum", max_norm=None, training=training)
        rows = tf.reshape(rows, tf.concat([tf.shape(ids), [self.output_dim]], axis=0))
        return tf.ensure_shape(rows, [*ids.shape, self.output_dim])

    def compute_mask(self, inputs: Any, mask: Any = None) -> Any:
        """True where there is an id; None without ``mask_zero``, and for ragged ids, which need none."""
        padding = None if isinstance(inputs, tf.RaggedTensor) or getattr(inputs, "ragged", False) else self.mask_zero
        return tf.keras.ops.not_equal(inputs, "" if self.key_dtype == "string" else 0) if padding else None

    def compute_output_shape(self, input_shape: Any) -> tuple:
        """The ids' shape and the size of a row."""
        return (*input_shape, self.output_dim)

    def compute_output_spec(self, inputs: Any, training: bool = False) -> Any:
        """The same, and the dtype."""
        self.check_ids(inputs.dtype)
        options = {"ragged": True, "ragged_rank": inputs.ragged_rank} if inputs.ragged else {}
        return tf.keras.KerasTensor((*inputs.shape, self.output_dim), dtype=self.compute_dtype, **options)


@tf.keras.utils.register_keras_serializable(package="nann")
class EmbeddingBag(TableLayer):
    """The rows of every bag of ids, combined: `Embedding` and pooling in one op, by the rules of the fused lookup.

    Args:
        input_dim, output_dim, and further ones: as `Embedding`.
        combiner: "mean", "sqrtn" or "sum", over the ids that have a row. A bag without any gives zeros.
        max_norm: L2 limit of every row, or None.

    Call arguments:
        inputs: ids [..., L] int32, int64 or string, dense and padded (by negative ids, by 0 with ``mask_zero``, or by the mask of an
            earlier layer), ragged [B, *] or sparse [B, *].
        weights: of the kind and structure of the ids, or None.
        training: ids are counted, and those admitted get rows.
        mask: bool of the shape of dense ids, True where there is one.

    Returns:
        [..., output_dim] of the compute dtype.

    Raises:
        ValueError: an argument is none of its values, or inputs are no ids.
    """

    def __init__(self, *args: Any, combiner: str = "mean", max_norm: float | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if combiner not in COMBINERS:
            raise ValueError(f"combiner must be one of {', '.join(COMBINERS)}, got {combiner!r}")
        if max_norm is not None and not max_norm > 0:
            raise ValueError(f"max_norm must be above 0, got {max_norm}; leave it out for no limit")
        self.combiner, self.max_norm, self.supports_masking = combiner, max_norm, True

    def call(self, inputs: Any, weights: Any = None, training: bool = False, mask: Any = None, inputs_mask: Any = None) -> tf.Tensor:
        """See the class; ``inputs_mask`` is the mask as Keras calls it beside weights."""
        mask = inputs_mask if mask is None else mask
        inputs = inputs if isinstance(inputs, Ids) else tf.convert_to_tensor(inputs)
        self.check_ids(inputs.dtype)
        leading = None
        if not isinstance(inputs, Ids):
            self._check_rank(inputs.shape)
            leading = tf.shape(inputs)[:-1], inputs.shape[:-1]
            keep = None if mask is None else tf.broadcast_to(tf.cast(mask, tf.bool), tf.shape(inputs))
            weights = None if weights is None else _bags(tf.convert_to_tensor(weights))
            inputs = _bags(inputs)
            if keep is not None:
                left_out = tf.logical_not(tf.reshape(keep, [-1]))
                inputs, weights = _without(inputs, left_out), _weights_without(inputs, weights, left_out)
        values = inputs.flat_values if isinstance(inputs, tf.RaggedTensor) else inputs.values
        padding = self.padding(values)
        inputs, weights = _without(inputs, padding), _weights_without(inputs, weights, padding)
        if weights is not None:
            weights = tf.cast(weights, self.variable_dtype)
        pooled = self.pool(inputs, weights, combiner=self.combiner, max_norm=self.max_norm, training=training)
        if leading is None:
            return pooled
        pooled = tf.reshape(pooled, tf.concat([leading[0], [self.output_dim]], axis=0))
        return tf.ensure_shape(pooled, [*leading[1], self.output_dim])

    def _check_rank(self, shape: Any) -> None:
        if len(shape) < 2:
            raise ValueError(f"ids of {self.name} must be bags [..., L], got shape {tuple(shape)}; for one id per bag take [B, 1]")

    def compute_mask(self, inputs: Any, mask: Any = None) -> None:
        """None: bags have no positions any more."""
        return

    def compute_output_shape(self, input_shape: Any, weights_shape: Any = None) -> tuple:
        """The ids' shape without their last axis, and the size of a row."""
        return (*input_shape[:-1], self.output_dim)

    def compute_output_spec(
        self, inputs: Any, weights: Any = None, training: bool = False, mask: Any = None, inputs_mask: Any = None
    ) -> Any:
        """The same, and the dtype."""
        self.check_ids(inputs.dtype)
        self._check_rank(inputs.shape)
        return tf.keras.KerasTensor((*inputs.shape[:-1], self.output_dim), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """The arguments it was made with."""
        return {**super().get_config(), "combiner": self.combiner, "max_norm": self.max_norm}


def _bags(values: tf.Tensor) -> tf.RaggedTensor:
    """Dense values [..., L] as bags of L."""
    length = tf.shape(values, out_type=tf.int64)[-1]
    count = tf.reduce_prod(tf.shape(values, out_type=tf.int64)[:-1])
    return tf.RaggedTensor.from_row_splits(tf.reshape(values, [-1]), tf.range(count + 1) * length, validate=False)


def _without(ids: Any, left_out: tf.Tensor | None) -> Any:
    """Bags without the ids that are left out: integers become negative, which the lookup prunes, strings go."""
    if left_out is None:
        return ids
    if ids.dtype == tf.string:
        return _where(ids, tf.logical_not(left_out))
    ragged = isinstance(ids, tf.RaggedTensor)
    values = ids.flat_values if ragged else ids.values
    pruned = tf.where(left_out, -tf.ones_like(values), values)
    return ids.with_flat_values(pruned) if ragged else tf.SparseTensor(ids.indices, pruned, ids.dense_shape)


def _weights_without(ids: Any, weights: Any, left_out: tf.Tensor | None) -> Any:
    """Weights of the ids that `_without` leaves."""
    return weights if weights is None or left_out is None or ids.dtype != tf.string else _where(weights, tf.logical_not(left_out))


def _where(structure: Any, keep: tf.Tensor) -> Any:
    if isinstance(structure, tf.RaggedTensor):
        return tf.ragged.boolean_mask(structure, structure.with_flat_values(keep))
    return tf.sparse.retain(structure, keep)

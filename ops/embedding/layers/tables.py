"""What the Keras layers look up in: a table of a fixed number of rows, one that grows, or one of rows of their own beside shared ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import tensorflow as tf

from ops.embedding import composite
from ops.embedding.adaptive import adaptive_lookup
from ops.embedding.features import Feature, is_variable
from ops.embedding.grouped import grouped_lookup
from ops.embedding.layers import config, saving
from ops.embedding.layers.weights import SUMMED, GrownWeight
from ops.embedding.positions import stock_only
from ops.embedding.start_values import normal_by_key, uniform_by_key
from ops.embedding.variable import EmbeddingVariable, EmbeddingVariableOption

Ids: TypeAlias = tf.SparseTensor | tf.RaggedTensor


class TableLayer(tf.keras.layers.Layer):
    """A layer with a table; arguments as `ops.keras.Embedding`."""

    def __init__(
        self,
        input_dim: int | None,
        output_dim: int,
        embeddings_initializer: Any = "uniform",
        embeddings_regularizer: Any = None,
        embeddings_constraint: Any = None,
        mask_zero: bool = False,
        *,
        key_dtype: str = "int64",
        option: EmbeddingVariableOption | dict | None = None,
        shared_rows: int | None = None,
        initial_capacity: int = 1024,
        seed: int | None = None,
        fused: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        for name, value in (("input_dim", input_dim), ("output_dim", output_dim), ("shared_rows", shared_rows)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be at least 1, got {value!r}")
        self.input_dim, self.output_dim, self.mask_zero = input_dim, output_dim, mask_zero
        self.embeddings_initializer = tf.keras.initializers.get(embeddings_initializer)
        self.embeddings_regularizer = tf.keras.regularizers.get(embeddings_regularizer)
        self.embeddings_constraint = tf.keras.constraints.get(embeddings_constraint)
        self.key_dtype, self.option, self.shared_rows = key_dtype, config.from_config(option), shared_rows
        self.initial_capacity, self.fused = initial_capacity, fused
        self.autocast = False  # ids are no numbers to be rounded
        own_seed = getattr(self.embeddings_initializer, "seed", None)
        self.seed = seed if seed is not None else own_seed if isinstance(own_seed, int) else 0
        self.embeddings: Any = None
        self.embedding_variable: EmbeddingVariable | None = None
        self._check()
        self.supports_jit, self.built = not self.grows, False

    @property
    def grows(self) -> bool:
        """Whether ids are given rows as they come."""
        return self.input_dim is None

    def _check(self) -> None:
        if self.key_dtype not in ("int64", "string"):
            raise ValueError(f"key_dtype must be 'int64' (which takes int32 ids, too) or 'string', got {self.key_dtype!r}")
        if not self.grows:
            given = {"option": self.option, "shared_rows": self.shared_rows}
            wrong = [name for name, value in given.items() if value is not None] + ["key_dtype"] * (self.key_dtype != "int64")
            if wrong:
                raise ValueError(f"{', '.join(wrong)}: for tables that grow only, got input_dim={self.input_dim}; input_dim=None lets them")
            return
        if self.embeddings_regularizer is not None or self.embeddings_constraint is not None:
            raise ValueError("a table that grows takes neither embeddings_regularizer nor embeddings_constraint; see evict_option")
        if not self.shared_rows and not (self.option and self.option.init_option.initializer):
            _start_of(self.embeddings_initializer, self.output_dim, self.seed)

    def build(self, input_shape: Any = None) -> None:
        """Makes the variables."""
        if self.built:
            return
        if not self.grows or self.shared_rows:
            self.embeddings = self.add_weight(
                shape=(self.input_dim or self.shared_rows, self.output_dim),
                initializer=self.embeddings_initializer,
                name="embeddings",
                regularizer=self.embeddings_regularizer,
                constraint=self.embeddings_constraint,
                autocast=False,
            )
        if self.grows:
            with tf.init_scope():
                self.embedding_variable = EmbeddingVariable(
                    self.output_dim,
                    dtype=tf.as_dtype(self.variable_dtype),
                    key_dtype=tf.as_dtype(self.key_dtype),
                    option=self.option,
                    initial_capacity=self.initial_capacity,
                    name=self.name,
                )
            storage = self.embedding_variable.storage
            setattr(storage.tables[0], SUMMED, True)
            self.own_rows = GrownWeight(storage.tables[0], storage, trainable=True, name="own_rows")
            self.kept = [GrownWeight(variable, storage, trainable=False, name=f"own_{name}") for name, variable in storage.fields.items()]
        self.built = True

    def pool(self, ids: Ids, weights: Ids | None, *, combiner: str, max_norm: float | None, training: bool) -> tf.Tensor:
        """[B, output_dim] of the compute dtype: the rows of every bag of ids, combined."""
        training, fused = bool(training) and self.trainable, self.fused and not stock_only()
        if self.embedding_variable is None:
            feature = Feature(self._fixed_rows(), ids, weights=weights, combiner=combiner, max_norm=max_norm)
            return tf.cast(grouped_lookup([feature], fused=fused)[0], self.compute_dtype)
        if composite.inside_xla():
            raise ValueError(f"{self.name} has a table that grows, which XLA cannot compile; call it outside of jit_compile=True")
        if self.shared_rows:
            pooled = adaptive_lookup(
                self.embedding_variable,
                self._fixed_rows(),
                ids,
                weights=weights,
                combiner=combiner,
                max_norm=max_norm,
                training=training,
                fused=fused,
            )
        else:
            rows = self.embedding_variable.rows_like(ids, insert=training, start=self._start())
            feature = Feature(
                self.embedding_variable.table, rows, weights=weights, combiner=combiner, max_norm=max_norm, partition_strategy="mod"
            )
            pooled = grouped_lookup([feature], fused=fused)[0]
        return tf.cast(pooled, self.compute_dtype)

    def _fixed_rows(self) -> Any:
        table = self.embeddings.value
        if is_variable(table):
            setattr(table, SUMMED, True)
        return table

    def _start(self) -> Callable[[tf.Tensor], tf.Tensor] | None:
        """Start values of new keys; None: those of the option."""
        if self.option is not None and self.option.init_option.initializer:
            return None
        return _start_of(self.embeddings_initializer, self.output_dim, self.seed)

    def check_ids(self, dtype: Any) -> None:
        """Refuses what are no ids.

        Raises:
            ValueError: with what to do about it.
        """
        name = tf.as_dtype(dtype).name
        wanted = ("string",) if self.key_dtype == "string" else ("int32", "int64")
        if name in wanted:
            return
        remedy = {
            "string": "take input_dim=None and key_dtype='string', or hash them first" if not self.grows else "take key_dtype='string'",
            "int64": "take key_dtype='int64'",
            "int32": "take key_dtype='int64'",
        }.get(name, f"begin the model with keras.Input(..., dtype='{wanted[-1]}'), as numbers with a fraction do not hold all ids")
        raise ValueError(f"ids of {self.name} must be {' or '.join(wanted)}, got {name}; {remedy}")

    def padding(self, ids: tf.Tensor) -> tf.Tensor | None:
        """Which ids are padding, of their shape; None: there is none."""
        return tf.equal(ids, tf.zeros([], ids.dtype) if ids.dtype != tf.string else "") if self.mask_zero else None

    def save_own_variables(self, store: Any) -> None:
        """Everything a `.keras` file keeps of the table."""
        if self.embedding_variable is None:
            super().save_own_variables(store)
            return
        saving.save(self.embedding_variable.storage, store)
        if self.shared_rows:
            store["shared"] = self.embeddings.numpy()

    def load_own_variables(self, store: Any) -> None:
        """What `save_own_variables` wrote, into a table of any capacity."""
        if self.embedding_variable is None:
            super().load_own_variables(store)
            return
        held = store["shared"].shape[0] if "shared" in store.keys() else None  # noqa: SIM118 - not a dictionary
        if held != self.shared_rows:
            raise ValueError(
                f"shared_rows must be {self.shared_rows}, as this layer's, got {held} in the file; make it as it was when saved"
            )
        saving.load(self.embedding_variable.storage, store)
        if self.shared_rows:
            self.embeddings.assign(store["shared"])

    def get_config(self) -> dict[str, Any]:
        """The arguments it was made with."""
        return {
            **super().get_config(),
            "input_dim": self.input_dim,
            "output_dim": self.output_dim,
            "embeddings_initializer": tf.keras.initializers.serialize(self.embeddings_initializer),
            "embeddings_regularizer": tf.keras.regularizers.serialize(self.embeddings_regularizer),
            "embeddings_constraint": tf.keras.constraints.serialize(self.embeddings_constraint),
            "mask_zero": self.mask_zero,
            "key_dtype": self.key_dtype,
            "option": config.to_config(self.option),
            "shared_rows": self.shared_rows,
            "initial_capacity": self.initial_capacity,
            "seed": self.seed,
            "fused": self.fused,
        }


def _start_of(initializer: Any, dim: int, seed: int) -> Callable[[tf.Tensor], tf.Tensor]:
    """Start values [m, dim] of keys [m]: the key decides its random ones, as an initializer of Keras draws the same ones in every call."""
    known = tf.keras.initializers
    if isinstance(initializer, known.RandomUniform):
        low, width = initializer.minval, initializer.maxval - initializer.minval
        return lambda keys: low + width * uniform_by_key(keys, dim, seed)
    if isinstance(initializer, known.RandomNormal):
        return lambda keys: initializer.mean + initializer.stddev * normal_by_key(keys, dim, seed)
    if isinstance(initializer, known.Constant | known.Zeros | known.Ones):
        return lambda keys: tf.repeat(tf.cast(initializer((1, dim)), tf.float32), tf.size(keys), axis=0)
    raise ValueError(
        "embeddings_initializer of a table that grows must be RandomUniform, RandomNormal, Constant, Zeros or Ones, got "
        f"{type(initializer).__name__}; any other goes into option=EmbeddingVariableOption(init_option=InitializerOption(...))"
    )

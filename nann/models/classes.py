"""Which class a scorer's name stands for: a family of this package, or a class of the user's own as ``my_package.module:MyModel``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import os
import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

from nann.errors import ModelError
from nann.families import FAMILIES
from nann.models.rows import RowScorer
from nann.models.scorer import Scorer

ARGUMENTS = ("num_items", "num_categories", "emb_dim", "seed")
_TRIAL_USERS, _TRIAL_LENGTH, _TRIAL_ITEMS = 2, 3, 5


def load_class(name: str) -> type[Scorer]:
    """The class of a scorer.

    Args:
        name: a family, or ``my_package.module:MyModel``; the module is looked for on Python's path, then in the current directory.

    Raises:
        ModelError: the module cannot be imported, has no such class, or the class is no usable scorer.
    """
    module_name, _, class_name = (FAMILIES[name].location if name in FAMILIES else name).partition(":")
    try:
        module = _import(module_name)
    except ImportError as error:
        raise ModelError(
            f"{name}: module {module_name} cannot be imported ({error}); run the command where it lies, or put its directory on PYTHONPATH"
        ) from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ModelError(f"{name}: module {module_name} has no {class_name}; its classes: {', '.join(_scorers_in(module)) or 'none'}")
    if not (inspect.isclass(found) and issubclass(found, Scorer)):
        raise ModelError(f"{name} is no scorer; derive it from nann.models.Scorer, as docs/models.md shows")
    if missing := sorted(getattr(found, "__abstractmethods__", ())):
        raise ModelError(f"{name} leaves out {', '.join(missing)}; a scorer has to define what nann.models.Scorer declares")
    _require_arguments(name, found, ARGUMENTS)
    return found


def require_features(name: str) -> None:
    """Refuses inputs for a class that does not take them.

    Raises:
        ModelError: it does not.
    """
    if issubclass(found := load_class(name), RowScorer):
        raise ModelError(f"{name} reads items and categories alone, it takes no --inputs; leave them out, or take --scorer nann")
    if name not in FAMILIES:
        _require_arguments(name, found, (*ARGUMENTS, "features"))


def source_digest(name: str) -> str | None:
    """Hex sha256 over the Python sources of a user's class - all of its package, or its module alone; None for a family."""
    if name in FAMILIES:
        return None
    module_name = name.partition(":")[0]
    load_class(name)
    top = importlib.util.find_spec(module_name.partition(".")[0])
    roots = [Path(root) for root in (top.submodule_search_locations or ())] if top is not None else []
    files = [(path.relative_to(root), path) for root in roots for path in sorted(root.rglob("*.py"))]
    if not files:
        path = Path(str(inspect.getsourcefile(sys.modules[module_name])))
        files = [(Path(path.name), path)]
    digest = hashlib.sha256()
    for relative, path in files:
        digest.update(str(relative).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def require_interface(scorer: Scorer, name: str) -> None:
    """Runs a user's scorer on a tiny input and refuses results of wrong shapes before any long work.

    Raises:
        ModelError: what the scorer returns does not fit together.
    """
    if name in FAMILIES:
        return
    rows = np.arange(_TRIAL_USERS * _TRIAL_LENGTH).reshape(_TRIAL_USERS, -1) % scorer.num_items
    inputs = dict.fromkeys(scorer.request_inputs, tf.ones(rows.shape, tf.int64))
    sequence, mask = scorer.history(tf.constant(rows), tf.zeros_like(rows), **inputs)
    _require(name, "history", "mask", mask, rows.shape)
    items = np.arange(1, _TRIAL_ITEMS + 1) % scorer.num_items
    vectors = scorer.encode_item(tf.constant(items), tf.zeros_like(items))
    _require(name, "encode_item", "the item vectors", vectors, (len(items), scorer.item_dim))
    try:
        state = scorer.encode_user(sequence, mask)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        if not inputs:
            raise
        raise ModelError(
            f"{name}: encode_user cannot read sequences [B, L, {scorer.history_dim}] of a model with the inputs {', '.join(inputs)} "
            f"({str(error).splitlines()[0]}); make the layers that read a sequence of size history_dim, not embedded_dim"
        ) from error
    if not isinstance(state, tuple) or not state:
        raise ModelError(f"{name}: encode_user must return a tuple of tensors, it returned {type(state).__name__}")
    for number, tensor in enumerate(state):
        _require(name, "encode_user", f"tensor {number}", tensor, (_TRIAL_USERS, *tensor.shape[1:]))
    _require(name, "score", "the logits", scorer.score(state, vectors[tf.newaxis]), (_TRIAL_USERS, len(items)))


def _require(name: str, method: str, what: str, tensor: tf.Tensor, shape: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != tuple(shape):
        raise ModelError(f"{name}: {what} of {method} must have shape {list(shape)} here, it has {list(tensor.shape)}")


def _import(module_name: str) -> object:
    """Imports a module, if need be from the current directory, where installed commands do not look by themselves."""
    if importlib.util.find_spec(module_name.partition(".")[0]) is None and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
        importlib.invalidate_caches()
    return importlib.import_module(module_name)


def _scorers_in(module: object) -> list[str]:
    return sorted(name for name, value in vars(module).items() if inspect.isclass(value) and issubclass(value, Scorer))


def _require_arguments(name: str, found: type[Scorer], arguments: tuple[str, ...]) -> None:
    if found.from_config.__func__ is not Scorer.from_config.__func__:  # type: ignore[attr-defined]
        return
    try:
        inspect.signature(found).bind(**dict.fromkeys(arguments))
    except TypeError as error:
        raise ModelError(
            f"{name} cannot be made with the arguments {', '.join(arguments)} ({error}); accept them, or override from_config"
        ) from error

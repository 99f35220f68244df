"""Fits how the scorer's logit and the memory's score are joined (`nann.memory.table`), on users that neither was learned from.

Trained together, the embeddings would know their training users by heart, while the rules, with the user's own pairs left out, would not:
every weight would come out for users that do not exist. So the scorer is trained alone, and about forty numbers are fitted afterwards.

A softmax over the candidates of each example, by L-BFGS (Byrd, Lu, Nocedal and Zhu, SIAM Journal on Scientific Computing 1995), in scipy.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import scipy.optimize
import tensorflow as tf
from numpy.typing import NDArray

from nann.memory.table import AGE_KNOTS, AGES, COUNT_KNOTS, Calibration, between_knots

logger = logging.getLogger(__name__)

KS = (20, 50, 100, 200)
STEPS = 60
LEAST_EXAMPLES = 50
SHIFTS = (-1.0, -0.5, 0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)
SMOOTHNESS, PULL = 1e-3, 0.05  # of the penalty: of steps from knot to knot, and of the distance from the beginning beside it
NAMES = {
    **dict.fromkeys(("log_tau", "log_gain", "prior"), len(COUNT_KNOTS)),
    "own": len(AGE_KNOTS),
    **dict.fromkeys(("log_c", "category_gain", "log_d"), 1),
}
PLACES = dict(zip(NAMES, np.split(np.arange(sum(NAMES.values())), np.cumsum(list(NAMES.values()))[:-1]), strict=True))


@dataclass(frozen=True)
class Examples:
    """Candidates of E moments of held-out users, the event that came next first (n candidates).

    Attributes:
        item_rows: [E, n] int32; 0 pads.
        logits: [E, n] float32 of the scorer; very low where padded.
        rules: [E, n] float32 r(u, v).
        shares: [E, n] float32 k(u, v).
        ages: [E, n] int32 newer items in the history; -1 where the item is not in it.
        reachable: [E] bool, whether the target is a candidate for another reason than being the target: only those are fitted to.
        log_share: logarithm of the share of the catalogue that candidates without memory were drawn from; 0 for all of it.
    """

    item_rows: NDArray[np.int32]
    logits: NDArray[np.float32]
    rules: NDArray[np.float32]
    shares: NDArray[np.float32]
    ages: NDArray[np.int32]
    reachable: NDArray[np.bool_]
    log_share: float = 0.0


def fit_calibration(
    examples: Examples, item_counts: NDArray[np.integer], *, start: Calibration | None = None, fixed: Collection[str] = ()
) -> tuple[Calibration, dict[str, Any]]:
    """The calibration that finds the targets best; the one to start from where there are fewer than `LEAST_EXAMPLES` to fit to.

    Args:
        examples: of users that the scorer and the rules were not learned from.
        item_counts: [N + 1] training events by item row.
        start: where to begin.
        fixed: names of numbers of a `Calibration` that keep their first values, as for an ablation.

    Returns:
        The calibration, and ``examples``, ``reachable`` and ``recall@K`` before (``scorer``, by the logits alone) and after.
    """
    calibration = start or Calibration()
    fitting = _Fitting(examples, item_counts)
    report: dict[str, Any] = {"examples": len(examples.reachable), "reachable": int(examples.reachable.sum())}
    if report["reachable"] < LEAST_EXAMPLES:
        logger.warning("%d examples are too few to fit the memory's weights to; they keep their first values", report["reachable"])
        return calibration, report
    fitted = fitting.minimize(_numbers(calibration), fixed)
    values: dict[str, Any] = {name: tuple(float(value) for value in fitted[places]) for name, places in PLACES.items()}
    report |= {"scorer": fitting.recalls(None), "fitted": fitting.recalls(fitted)}
    logger.info(
        "memory: recall of %d held-out events, %s",
        report["examples"],
        ", ".join(f"@{k} {report['scorer'][f'recall@{k}']:.3f} -> {report['fitted'][f'recall@{k}']:.3f}" for k in KS),
    )
    return Calibration(**{name: value if NAMES[name] > 1 else value[0] for name, value in values.items()}), report


def shift_own(examples: Examples, item_counts: NDArray[np.integer], calibration: Calibration) -> tuple[Calibration, dict[str, Any]]:
    """The calibration whose part for own items is higher or lower by the one of `SHIFTS` that gives the best mean recall over `KS`.

    Own items are few, so that a list has room for all of them at little cost to others; a softmax over candidates does not know of lists.

    Args:
        examples: that the calibration was fitted to.
        item_counts: [N + 1] training events by item row.
        calibration: fitted.

    Returns:
        The calibration, and ``own_shift`` and ``fitted``, the recall with it.
    """
    fitting = _Fitting(examples, item_counts)
    scores = fitting.joint(tf.constant(_numbers(calibration), tf.float32)).numpy()
    own = (examples.ages >= 0).astype(np.float32)
    found = {shift: fitting.recalls_of(scores + shift * own) for shift in SHIFTS}
    best = max(SHIFTS, key=lambda shift: (round(float(np.mean(list(found[shift].values()))), 9), -abs(shift)))
    return replace(calibration, own=tuple(value + best for value in calibration.own)), {"own_shift": best, "fitted": found[best]}


def _numbers(calibration: Calibration) -> NDArray[np.float64]:
    """All numbers, in the order of `NAMES`."""
    return np.concatenate([np.atleast_1d(np.array(value, np.float64)) for value in asdict(calibration).values()])


class _Fitting:
    """Losses of a vector of all numbers of a calibration, in the order of `NAMES`."""

    def __init__(self, examples: Examples, item_counts: NDArray[np.integer]) -> None:
        ages = np.concatenate([between_knots(np.arange(AGES), AGE_KNOTS), np.zeros((1, len(AGE_KNOTS)), np.float32)])
        self._counts, self._ages = tf.constant(between_knots(item_counts, COUNT_KNOTS)), tf.constant(ages)
        self._rows = tf.constant(examples.item_rows)
        self._age = tf.constant(np.where(examples.ages < 0, AGES, np.minimum(examples.ages, AGES - 1)))
        self._logits, self._rules, self._shares = (tf.constant(each) for each in (examples.logits, examples.rules, examples.shares))
        self._reachable = tf.constant(examples.reachable.astype(np.float32))
        drawn = (examples.rules <= 0) & (examples.shares <= 0) & (examples.ages < 0)
        drawn[:, 0] = False
        self._offset = tf.constant(np.where(drawn, -examples.log_share, 0.0).astype(np.float32))

    def joint(self, numbers: tf.Tensor) -> tf.Tensor:
        """[E, n] joined scores."""
        of = {name: numbers[places[0] : places[-1] + 1] for name, places in PLACES.items()}
        tau, gain, prior = (tf.gather(tf.linalg.matvec(self._counts, of[name]), self._rows) for name in ("log_tau", "log_gain", "prior"))
        own = tf.gather(tf.linalg.matvec(self._ages, of["own"]), self._age)
        rules, shares = (tf.math.log1p(tf.exp(of[scale]) * each) for scale, each in (("log_c", self._rules), ("log_d", self._shares)))
        return tf.exp(tau) * self._logits + prior + own + tf.exp(gain) * rules + of["category_gain"] * shares

    def softmax(self, numbers: tf.Tensor) -> tf.Tensor:
        """Cross entropy of the target among the candidates."""
        scores = self.joint(numbers) + self._offset
        return tf.reduce_mean(self._reachable * (tf.reduce_logsumexp(scores, axis=1) - scores[:, 0]))

    def recalls(self, numbers: NDArray[np.float64] | None) -> dict[str, float]:
        """Recall@K of the joined scores; None: of the scorer's logits."""
        return self.recalls_of((self._logits if numbers is None else self.joint(tf.constant(numbers, tf.float32))).numpy())

    def recalls_of(self, scores: NDArray[np.float32]) -> dict[str, float]:
        """Recall@K of scores [E, n]."""
        above = np.sum(scores[:, 1:] > scores[:, :1], axis=1)
        return {f"recall@{k}": float(np.mean((above < k) & (self._reachable.numpy() > 0))) for k in KS}

    def minimize(self, first: NDArray[np.float64], fixed: Collection[str]) -> NDArray[np.float64]:
        """Where cross entropy and penalty are least; the numbers of ``fixed`` names stay."""
        free = np.ones(len(first))
        for name in fixed:
            free[PLACES[name]] = 0.0
        beginning = tf.constant(_numbers(Calibration()), tf.float32)

        @tf.function(autograph=False)
        def with_gradient(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(numbers)
                value = self.softmax(numbers) + _penalty(numbers, beginning)
            return value, tape.gradient(value, numbers)

        def evaluate(numbers: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            value, gradient = with_gradient(tf.constant(numbers, tf.float32))
            return float(value), free * gradient.numpy()

        bounds = [(0.0 if name == "category_gain" else None, None) for name, size in NAMES.items() for _ in range(size)]
        found = scipy.optimize.minimize(evaluate, first, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": STEPS})
        return np.asarray(found.x, np.float64)


def _penalty(numbers: tf.Tensor, beginning: tf.Tensor) -> tf.Tensor:
    steps = [
        tf.reduce_sum(tf.square(numbers[places[0] + 1 : places[-1] + 1] - numbers[places[0] : places[-1]]))
        for places in PLACES.values()
        if len(places) > 1
    ]
    return SMOOTHNESS * (tf.add_n(steps) + PULL * tf.reduce_sum(tf.square(numbers - beginning)))

"""What the figures of a run are worth, in sentences: the warnings where they mean little, and the verdict at the head of a report."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nann.evaluation.best_baseline import BEST_BASELINE

Metrics = Mapping[str, Any]
RELATIVE_ERROR = 0.05  # the largest standard error of recall, as a share of it, at which a figure is taken for measured
SCAN_SHARE = 0.5  # of the items scored, from which on a walk is a scan in disguise
GOOD_COVERAGE = 0.95  # of the exact list, below which a wider search comes first


def users_needed(recall: float, relative_error: float = RELATIVE_ERROR) -> int:
    """Users S with which the standard error of a recall r, sqrt(r (1 - r) / S), is that share of r.

    Raises:
        ValueError: the recall is not above 0.
    """
    if recall <= 0:
        raise ValueError(f"a number of users follows from a recall above 0, but it is {recall}")
    return max(1, math.ceil((1 - recall) / (recall * relative_error**2)))


def evaluation_warnings(metrics: Metrics) -> list[str]:
    """Where an evaluation means little, a sentence each: few users, more than half of the items scored, a model below a simple method.

    Args:
        metrics: the contents of ``metrics.json``; what it says at the largest K counts.
    """
    k = _largest(metrics)
    found = [_few_users(metrics, k), _scan(metrics), _below(metrics, k)]
    return [sentence for sentence in found if sentence]


def training_warnings(
    *, steps: int, samples: int, samples_per_epoch: int, planned_steps: int, allowed_steps: int, wanted_steps: int, max_minutes: float
) -> list[str]:
    """Whether a limit cut a training short: ``max_steps`` before the first pass over the samples, or ``max_minutes`` at any time.

    Args:
        steps: taken.
        samples: seen.
        samples_per_epoch: of one pass.
        planned_steps: that the limit of time left.
        allowed_steps: that ``max_steps`` allows of
        wanted_steps: those that the passes come to.
        max_minutes: the limit of time, 0 for none.
    """
    passes = samples / max(1, samples_per_epoch)
    if max_minutes and planned_steps < allowed_steps:
        wanted = f"{allowed_steps:,} steps are {allowed_steps / max(1, planned_steps):.1f} times as many"
        return [f"training was cut short by --max-minutes {max_minutes:g}, after {planned_steps:,} steps ({passes:.2f} passes); {wanted}"]
    if allowed_steps < wanted_steps and passes < 1:
        one_pass = math.ceil(steps / max(passes, 1e-9))
        told = f"training was cut short by --max-steps {allowed_steps}, after {passes:.2f} of a pass over the samples"
        return [f"{told}; one pass is {one_pass:,} steps"]
    return []


def verdict(metrics: Metrics, training: Sequence[str] = ()) -> list[tuple[str, str]]:
    """The head of a report: (what is judged, a sentence), the last of them what to do next.

    Args:
        metrics: the contents of ``metrics.json``.
        training: warnings of the training.
    """
    k = _largest(metrics)
    lines = [("Against the best baseline", _against_best(metrics, k)), ("Test users", _few_users(metrics, k) or _enough_users(metrics, k))]
    lines.append(("Search", _scan(metrics) or f"{_share_scored(metrics)}, so it is no scan in disguise"))
    lines += [("Training", sentence) for sentence in training]
    return [*((label, f"{text[:1].upper()}{text[1:]}.") for label, text in lines), ("Next", _next(metrics, k, bool(training)))]


def _largest(metrics: Metrics) -> int:
    return max(int(name.partition("@")[2]) for name in metrics if name.startswith("recall_retrieval@"))


def _few_users(metrics: Metrics, k: int) -> str:
    recall, users, error = metrics[f"recall_retrieval@{k}"], metrics["num_test_users"], metrics["standard_errors"][f"recall_retrieval@{k}"]
    told = f"{users:,} {metrics['split']} users"
    if not recall:
        return f"of {told} none finds the held-out item (recall@{k} is 0), so nothing can be said; train longer, or on more data"
    if error is not None and error <= RELATIVE_ERROR * recall:
        return ""
    share = f", {error / recall:.0%} of it" if error else ""
    needed = users_needed(recall)
    remedy = "give a larger --max-users, or convert with more --test-users or a longer log"
    error_text = "unknown" if error is None else f"{error:.3f}"
    return (
        f"{told} are few: the standard error of recall@{k} {recall:.3f} is {error_text}{share}; "
        f"{RELATIVE_ERROR:.0%} needs {needed:,} users ({remedy})"
    )


def _enough_users(metrics: Metrics, k: int) -> str:
    error, recall = metrics["standard_errors"][f"recall_retrieval@{k}"], metrics[f"recall_retrieval@{k}"]
    told = f"{metrics['num_test_users']:,} {metrics['split']} users are enough"
    return f"{told}: the standard error of recall@{k} {recall:.3f} is {error:.3f}, {error / recall:.1%} of it"


def _scan(metrics: Metrics) -> str:
    share = metrics["items_scored_share"]
    if share <= SCAN_SHARE:
        return ""
    told = f"{_share_scored(metrics)}, so it is a scan in disguise"
    return f"{told}; narrow it (`nann tune`), or score all items of so small a corpus"


def _share_scored(metrics: Metrics) -> str:
    return f"the walk scores {metrics['items_scored_share']:.1%} of the {metrics['num_items']:,} items"


def _ratio(metrics: Metrics, k: int) -> tuple[float | None, str]:
    """Ratio to the best baseline, and in words with its name and interval."""
    ratio, best = metrics.get(f"ratio_to_best_baseline@{k}"), metrics[BEST_BASELINE]
    interval = metrics["intervals"].get(f"ratio_to_best_baseline@{k}")
    ratio_text = "" if ratio is None else f", {ratio:.2f} times that" + (f" ({interval[0]:.2f} to {interval[1]:.2f})" if interval else "")
    own = metrics[f"recall_retrieval@{k}"]
    return ratio, f"recall@{k} {own:.3f} beside {best[f'recall@{k}']:.3f} of {best[f'name@{k}']}{ratio_text}"


def _below(metrics: Metrics, k: int) -> str:
    if not metrics.get(BEST_BASELINE):
        return ""
    ratio, words = _ratio(metrics, k)
    if ratio is None or ratio >= 1:
        return ""
    worse = _against_best(metrics, k).startswith("worse")
    return f"the model is {'below' if worse else 'not shown to be above'} the best baseline: {words}"


def _against_best(metrics: Metrics, k: int) -> str:
    if not metrics.get(BEST_BASELINE):
        return "no simple method was measured (`nann evaluate --baselines`)"
    ratio, words = _ratio(metrics, k)
    low, high = metrics["intervals"].get(f"ratio_to_best_baseline@{k}", (0.0, math.inf))
    if ratio is None:
        return f"not decided: {words}"
    if low > 1:
        return f"better: {words}"
    return f"worse: {words}" if high < 1 else f"not decided, the interval holds 1: {words}"


def _next(metrics: Metrics, k: int, cut_short: bool) -> str:
    """What helps most, the first that applies."""
    if not metrics[f"recall_retrieval@{k}"] or cut_short:
        return "Train longer: raise the limit that ended the training."
    if _few_users(metrics, k):
        return "Measure on more users before anything is decided."
    if metrics.get(BEST_BASELINE) and not _against_best(metrics, k).startswith("better"):
        return "Try other training settings (`nann sweep`), and several seeds (`nann seeds`), or serve the simple method."
    if metrics[f"coverage@{k}"] < GOOD_COVERAGE:
        return f"Widen the search (`nann tune`): it finds {metrics[f'coverage@{k}']:.1%} of the exact top {k}."
    if _scan(metrics):
        return "Look for a narrower search (`nann tune`)."
    return "Put it to the gate (`nann gate`) and publish it (`nann publish`)."

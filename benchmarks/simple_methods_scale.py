"""Time and memory of the memory of pairs and of every simple method, by rows of the log.

    .venv/bin/python benchmarks/simple_methods_scale.py --rows 1000000,10000000,100000000

A log of UserBehavior's shape is drawn in memory: a hundred events a user, one item for every 24 events, Zipf popularity, half of the events
next to the one before them. Then one child process each counts the table of a model (128 successors, or as many as fit), or learns, is
tuned on ``--users`` validation users and answers for as many others, as `nann evaluate` does it with its defaults. A child begins with the
log's bytes, which it shares; its peak is that of its own resident memory, the log included. Prints a table, with processor seconds beside
those on the clock, since other work on the machine lengthens only the latter much.
"""

from __future__ import annotations

import argparse
import logging
import os
import platform
import resource
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from nann.config import EvaluateConfig
from nann.dataset import Histories, Items, Samples
from nann.evaluation.recommenders.tuning import SimpleMethod
from nann.evaluation.simple_methods import METHODS, Known
from nann.memory.rules import RuleOptions
from nann.training.memory import ENTRIES, count_table

EVENTS_OF_USER, EVENTS_OF_ITEM, ITEMS_OF_CATEGORY = 100, 24, 450
SUCCESSORS, WIDTH = 128, 50
DEFAULTS = EvaluateConfig()
KS = (50, 200)


def draw(rows: int) -> tuple[Histories, Items]:
    """A log of that many rows."""
    rng = np.random.default_rng(rows)
    users, num_items = rows // EVENTS_OF_USER, rows // EVENTS_OF_ITEM
    lengths = np.maximum(1, rng.geometric(1 / EVENTS_OF_USER, users))
    splits = np.concatenate([[0], np.cumsum(lengths)])
    events = int(splits[-1])
    # Zipf with an exponent of 1: the logarithm of the rank is uniform
    drawn = np.minimum(np.exp(rng.random(events, np.float32) * np.log(num_items)).astype(np.int32), num_items)
    follows = rng.random(events, np.float32) < 0.5
    follows[splits[:-1]] = False
    begins = np.maximum.accumulate(np.where(follows, 0, np.arange(events)))
    item_rows = ((drawn[begins] - 1 + np.arange(events) - begins) % num_items + 1).astype(np.int32)
    times = np.sort(rng.integers(1_511_539_200, 1_512_316_800, (users, 1)), axis=0).repeat(lengths, axis=0).ravel()
    times = times + np.arange(events) - splits[:-1].repeat(lengths)
    counts = np.bincount(item_rows, minlength=num_items + 1)
    categories = np.concatenate([[0], np.arange(num_items) // ITEMS_OF_CATEGORY + 1]).astype(np.int32)
    items = Items(np.arange(num_items + 1), categories, counts / events, counts, int(categories[-1]))
    return Histories(item_rows, splits, 1, times=times.astype(np.int64)), items


def held_out(log: Histories, users: NDArray[np.int64]) -> Samples:
    """Histories and targets from the ends of some users' events; they stay among the training events, which changes no cost."""
    count = len(users)
    histories, targets, moments = np.zeros((count, WIDTH), np.int32), np.zeros(count, np.int32), np.zeros(count, np.int64)
    for place, user in enumerate(users):
        events = slice(log.row_splits[user], log.row_splits[user + 1])
        history = log.item_rows[events][:-1][-WIDTH:]
        histories[place, : len(history)], targets[place] = history, log.item_rows[events][-1]
        moments[place] = 0 if log.times is None else log.times[events][-2]
    return Samples(histories, targets, users, moments)


def measured(work: Callable[[], str]) -> tuple[float, float, float, str]:
    """Seconds, processor seconds, peak resident MiB, and what is worth saying, of work in a child process."""
    read, write = os.pipe()
    begin = time.perf_counter()
    child = os.fork()
    if child == 0:
        said = work()
        used = resource.getrusage(resource.RUSAGE_SELF)
        os.write(write, f"{used.ru_utime + used.ru_stime} {used.ru_maxrss / 1024} {said}".encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        processor, peak, said = answer.read().split(" ", 2)
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"a child ended with status {status}: memory?")
    return time.perf_counter() - begin, float(processor), float(peak), said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="1000000,10000000")
    parser.add_argument("--users", type=int, default=1000, help="users to tune on, and users to answer for")
    parser.add_argument("--only", help="what to measure, names with commas; all by default")
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("nann").setLevel(logging.INFO)
    print(f"{platform.processor() or platform.machine()}, {len(os.sched_getaffinity(0))} processors, numpy {np.__version__}")
    print("| rows | what | seconds | of a processor | peak MiB | of it the log | |\n|---|---|---|---|---|---|---|", flush=True)
    for rows in (int(each) for each in options.rows.split(",")):
        log, items = draw(rows)
        num_items = len(items.item_ids) - 1
        keep = max(1, min(SUCCESSORS, ENTRIES // num_items))
        own = sum(
            array.nbytes for array in (log.item_rows, log.row_splits, log.times, items.train_counts, items.weights) if array is not None
        )
        able = np.flatnonzero(np.diff(log.row_splits) > 3)
        drawn = np.random.default_rng(rows).choice(able, 2 * options.users, replace=False)
        validation, samples = (held_out(log, np.sort(some)) for some in np.split(drawn, 2))

        def table(log: Histories = log, items: Items = items, keep: int = keep) -> str:
            made = count_table(log, items, RuleOptions(), keep=keep, max_length=WIDTH)
            size = made.items.nbytes + made.counts.nbytes + made.row_splits.nbytes + made.totals.nbytes + made.item_counts.nbytes
            return f"{len(made.items):,} entries, {keep} an item, {size / 2**20:,.0f} MiB"

        known = Known(log, items, decays=DEFAULTS.decays, hours=DEFAULTS.recent_hours)

        def answers(
            learn: Callable[[Known], SimpleMethod | None], known: Known = known, of: tuple[Samples, Samples] = (validation, samples)
        ) -> str:
            method = learn(known)
            if method is None:
                return "nothing to learn from"
            tried = method.choose(of[0], KS).get("tried", {})
            method.lists(of[1], max(KS))
            bounds = (f"{bound} {reached['at_most']:,} ({reached['reached_by']:,})" for bound, reached in method.bounds().items())
            return ", ".join([f"{len(tried)} settings tried", *bounds])

        works = {"table of a model": table} | {learn.__name__: lambda learn=learn: answers(learn) for learn in METHODS}
        for name, work in works.items():
            if options.only and name not in options.only.split(","):
                continue
            seconds, processor, peak, said = measured(work)
            print(f"| {rows:,} | {name} | {seconds:.1f} | {processor:.1f} | {peak:,.0f} | {own / 2**20:,.0f} | {said} |", flush=True)


if __name__ == "__main__":
    main()

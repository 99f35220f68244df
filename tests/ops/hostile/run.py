"""Makes bad calls of the native ops where they can end a process without harm and prints as JSON what became of them.

The parent has TensorFlow loaded and has run nothing, so that a fork has no threads to miss. A child makes calls until one ends it, and the
next child goes on behind that one.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from calls import CALLS, Arguments, Held, call
from instances import INSTANCES

Job = Callable[[Callable[[str], None]], str]
SECONDS, MEMORY_BYTES = 20, 3 << 29
NUMBERS = (-1, 2**31 - 1, 2**31, 2**62, -(2**63))


def bad_arrays(array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Arrays of other shapes or values than a good one."""
    yield "one more axis", array[np.newaxis]
    yield "scalar", array.dtype.type(array.flat[0] if array.size else 0)
    yield "no elements", np.zeros([0], array.dtype)
    yield "no elements of a matrix", np.zeros([0, 3], array.dtype)
    yield "no columns", np.zeros([2, 0], array.dtype)
    yield "many rows of nothing", np.zeros([2**40, 0], array.dtype)
    yield "one element", np.zeros([1], array.dtype)
    yield "cut", array[:-1] if array.ndim else array
    if array.dtype.kind == "f":
        for value in (np.nan, np.inf, -np.inf, 0.0):
            yield str(value), np.full_like(array, value)
    if array.dtype.kind == "i":
        limits = np.iinfo(array.dtype)
        for number in NUMBERS:
            if limits.min <= number <= limits.max:
                yield str(number), np.full_like(array, number)
                if array.size > 1:
                    first, last = array.copy(), array.copy()
                    first.flat[0] = last.flat[-1] = number
                    yield f"{number} first", first
                    yield f"{number} last", last


def bad_values(value: Any) -> Iterator[tuple[str, Any]]:
    """Other values of an argument: an array, a variable, an attribute, or a list of one of these."""
    if isinstance(value, Held):
        for what, array in bad_arrays(value.value):
            yield f"variable, {what}", Held(array)
        for dtype in (np.int32, np.int64, np.float64, np.float16):
            yield f"variable of {dtype.__name__}", Held(value.value.astype(dtype))
        yield "variable of strings", Held(value.value.astype(bytes))
    elif isinstance(value, np.ndarray | np.generic):
        yield from bad_arrays(np.asarray(value))
    elif isinstance(value, bool | str):
        return
    elif isinstance(value, int):
        yield from ((str(number), number) for number in NUMBERS)
    elif isinstance(value, list):
        for position, entry in enumerate(value):
            for what, bad in bad_values(entry):
                yield f"{what} at {position}", [*value[:position], bad, *value[position + 1 :]]
        yield "no entries", []


def bad_calls(arguments: Arguments) -> Iterator[tuple[str, Arguments]]:
    for name, value in arguments.items():
        for what, bad in bad_values(value):
            yield f"{name}: {what}", arguments | {name: bad}


def forked(jobs: dict[str, Job]) -> dict[str, dict[str, str]]:
    """Runs jobs in another process until one ends it: per job the `outcome`, or the `signal`, and what it was `doing` last."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY_BYTES, used + MEMORY_BYTES))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        for name, job in jobs.items():

            def tell(key: str, text: str, name: str = name) -> None:
                os.write(writing, (json.dumps([name, key, text]) + "\n").encode())

            signal.alarm(SECONDS)
            tell("doing", "")
            try:
                tell("outcome", job(partial(tell, "doing")))
            except BaseException:
                tell("outcome", traceback.format_exc())
        os._exit(0)
    os.close(writing)
    told: dict[str, dict[str, str]] = {}
    with os.fdopen(reading) as lines:
        for name, key, text in map(json.loads, lines):
            told.setdefault(name, {})[key] = text
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        told[list(told)[-1]]["signal"] = signal.Signals(os.WTERMSIG(status)).name
    return told


def all_of(jobs: dict[str, Job]) -> dict[str, dict[str, str]]:
    """`forked`, again for what is left after a job that ended its process."""
    told: dict[str, dict[str, str]] = {}
    while left := {name: job for name, job in jobs.items() if name not in told}:
        told |= forked(left)
    return told


def outcome_of(run: Callable[[], Any]) -> str:
    """`value: ...`, or the name of the error and its text."""
    import tensorflow as tf

    try:
        value = run()
    except (tf.errors.OpError, ValueError, TypeError, MemoryError) as error:
        return f"{type(error).__name__}: {error}"
    return f"value: {tf.nest.map_structure(str, value)}"


def every_bad_call(arguments: Arguments, name: str) -> Job:
    """A job that counts how many bad calls of an op are refused, once the good one was answered."""

    def work(doing: Callable[[str], None]) -> str:
        doing("the good call")
        good = outcome_of(lambda: call(name, arguments))
        if not good.startswith("value: "):
            return good
        refused = 0
        for what, bad in bad_calls(arguments):
            doing(what)
            refused += not outcome_of(lambda bad=bad: call(name, bad)).startswith("value: ")
        return f"value: {refused} refused"

    return work


def instance(run: Callable[[], Any], _: Callable[[str], None]) -> str:
    """A job of one call."""
    return outcome_of(run)


def main() -> None:
    from ops import native

    library = native.load_library()
    print(
        json.dumps(
            {
                "ops": [name for name in dir(library) if name.startswith("nann_") and not name.endswith("_eager_fallback")],
                "instances": all_of({name: partial(instance, run) for name, (run, _) in INSTANCES.items()}),
                "generated": all_of({name: every_bad_call(arguments, name) for name, arguments in CALLS.items()}),
            }
        )
    )


if __name__ == "__main__":
    main()

"""Runs a command again and again, with another fault at each of its calls that change files; prints what went wrong as JSON.

    LD_PRELOAD=faults.so python drive.py DIRECTORY SCENARIO,... FAULT,... STRIDE

A FAULT is ``kill``, or the name of an errno, which one call fails with, or ``+ERRNO``, which it and all after it fail with;
``+ENOSPC`` is of calls that need room alone. All processes are forks of this one, which has everything imported, and no threads.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = "-1"

from states import SCENARIOS, Scenario

import nann.steps.build_index
import nann.steps.convert
import nann.steps.publish  # noqa: F401 (loaded once, for all forks)
from nann.digests import code_digest
from pipelines.cli import main

FAULTS = ctypes.CDLL(None)
KILLED = -9


def forked(work: Callable[[], int], output: Path) -> tuple[int, str]:
    """Exit code of a function in a process of its own (negative: the signal), and what it wrote."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 99
        try:
            descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, 1)
            os.dup2(descriptor, 2)
            code = work()
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, output.read_text(errors="replace")


def command(arguments: Sequence[str], arm: Callable[[], None] = lambda: None) -> Callable[[], int]:
    def run() -> int:
        arm()
        try:
            main.main(list(arguments), prog_name="nann")
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return run


def listing(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


class Driver:
    """One scenario in one directory.

    Attributes:
        wrong: what went wrong.
        tried: faults tried.
        seen: what readers saw after them.
    """

    def __init__(self, directory: Path, scenario: Scenario) -> None:
        self._root, self._template, self._output = directory / "root", directory / "template", directory / "output"
        self._whole, self._scenario = directory / "whole", scenario
        self.wrong: list[str] = []
        self.tried, self.seen = 0, set[str]()
        self._root.mkdir(parents=True)
        FAULTS.fault_no_exchange(int(not scenario.exchange))
        forked(lambda: scenario.prepare(self._root, lambda words: forked(command(words), self._whole)[0]) or 0, self._output)
        self._root.rename(self._template)
        self._begin()
        self._expect("without a fault, before", self._read(), scenario.before)
        code, text = forked(command(scenario.command(self._root)), self._output)
        self._expect(f"without a fault ({text.strip()[-300:]})", str(code), "0")
        self._expect("without a fault, after", self._read(), scenario.after)
        self._files = listing(self._root)

    def _begin(self) -> None:
        shutil.rmtree(self._root, ignore_errors=True)
        shutil.copytree(self._template, self._root, symlinks=True)

    def _read_here(self) -> str:
        try:
            return self._scenario.read(self._root)
        except Exception as error:
            return f"an error: {type(error).__name__}: {error}"

    def _read(self) -> str:
        forked(lambda: self._whole.write_text(self._read_here()) and 0, self._output)
        return self._whole.read_text()

    def _read_and_run_again(self) -> tuple[str, int, str, str]:
        """What a reader sees, the exit code and output of the command without a fault, and what a reader sees then; one process for all."""

        def work() -> int:
            seen = self._read_here()
            code = command(self._scenario.command(self._root))()
            self._whole.write_text(json.dumps([seen, self._read_here()]))
            return code

        self._whole.write_text("[]")
        code, text = forked(work, self._output)
        seen, after = json.loads(self._whole.read_text()) or ("nothing", "nothing")
        return seen, code, text, after

    def _expect(self, when: str, found: object, *expected: object) -> None:
        if found not in expected:
            self.wrong.append(f"{when}: found {found!r}, expected {' or '.join(map(repr, expected))}")

    def run(self, fault: str, stride: int) -> None:
        """Every call in turn, until the command ends by itself."""
        call = 1
        while self._one(fault, call):
            call += stride

    def _one(self, fault: str, call: int) -> bool:
        scenario = self._scenario
        self._begin()
        number = 0 if fault == "kill" else getattr(errno, fault.lstrip("+"))
        always, growing = int(fault.startswith("+")), int(fault == "+ENOSPC")
        reached = self._whole

        def arm() -> None:
            FAULTS.fault_arm(os.fsencode(self._root), call, number, always, growing)

        def work() -> int:
            code = command(scenario.command(self._root), arm)()
            count = FAULTS.fault_count()
            FAULTS.fault_arm(b"", 0, 0, 0, 0)
            reached.write_text(str(count))
            return code

        code, text = forked(work, self._output)
        when = f"{fault} at call {call}"
        if code != KILLED and int(reached.read_text()) < call:
            return False
        self.tried += 1
        seen, again, later, after = self._read_and_run_again()
        self.seen.add(seen)
        if fault == "kill":
            self._expect(when, code, KILLED)
            self._expect(f"{when}, a reader", seen, scenario.before, scenario.after)
        else:
            self._expect(f"{when} ({text.strip()[-300:]})", code, 0, 1)
            self._expect(f"{when}, a reader", seen, *([scenario.after] if code == 0 else [scenario.before, scenario.after]))
            if code == 1:
                self._expect_one_line(when, text, number)
        self._expect(f"{when}, again ({later.strip()[-300:]})", again, 0)
        self._expect(f"{when}, a reader after it was run again", after, scenario.after)
        left = sorted(set(listing(self._root)) ^ set(self._files))
        self._expect(f"{when}, files that are left or missing after it was run again", left, [])
        return True

    def _expect_one_line(self, when: str, text: str, number: int) -> None:
        lines = [line for line in text.strip().splitlines() if not line.startswith("20") and " WARNING " not in line]
        if len(lines) == 1 and lines[0].startswith("error: ") and str(self._root) in lines[0] and ";" in lines[0]:
            reasons = (os.strerror(number), "written in part")  # the second where a library does not say why
            self._expect(f"{when}, the reason", any(reason in lines[0] for reason in reasons) or lines[0], True)
        else:
            self._expect(f"{when}, one line with the path and a remedy", text.strip()[-600:], "one")


def run() -> None:
    directory, names, faults, stride = Path(sys.argv[1]), sys.argv[2].split(","), sys.argv[3].split(","), int(sys.argv[4])
    code_digest()
    result: dict[str, dict[str, object]] = {}
    wrong: list[str] = []
    for name in names:
        driver = Driver(directory / name.replace(" ", "-"), SCENARIOS[name])
        for fault in faults:
            before, driver.seen = driver.tried, set()
            driver.run(fault, stride)
            result.setdefault(name, {})[fault] = {"tried": driver.tried - before, "seen": sorted(driver.seen)}
        wrong += [f"{name}: {text}" for text in driver.wrong]
    print(json.dumps({"faults": result, "wrong": wrong}))


if __name__ == "__main__":
    run()

"""Runs every step on a disk that is full, fails or may only be read, from one of its calls on; prints what went wrong as JSON.

LD_PRELOAD=faults.so python steps.py DIRECTORY
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import sys
from pathlib import Path

from drive import command, forked

from nann.digests import code_digest

FAULTS = ctypes.CDLL(None)
CONFIG = """
convert: {shards: 1, max_length: 10}
train: {emb_dim: 4, batch_size: 64, num_neg: 8, max_steps: 4, keep: last, xla: false, memory: none}
rewrite: {ef: [50, 10], rounds: [2, 1], top_k: 50}
evaluate: {ks: [20, 50], curve_users: 0}
benchmark: {warmup_seconds: 0, duration_seconds: 0.2}
gate: {k: 50, max_users: 10, min_users: 5, latency_requests: 3, min_coverage: 0, min_baseline_ratio: 0}
"""
STEPS = (
    *("convert", "check-data", "train", "extract", "build-index", "rewrite", "evaluate", "benchmark"),
    *("in-service", "gate", "publish", "report"),
)
OUTPUTS = {"convert": "dataset", "train": "model", "extract": "embeddings", "build-index": "index", "rewrite": "converted_model"}
OUTPUTS |= {"check-data": "data_check", "evaluate": "evaluation", "in-service": "in_service", "publish": "publication"}


def words_of(step: str, root: Path) -> list[str]:
    more = {"convert": ["--input", str(root / "log.csv")], "in-service": ["--service", str(root / "service"), "--create"]}
    more["publish"] = ["--service", str(root / "service")]
    words = [step, "--output-root", str(root), "--quiet", *more.get(step, [])]
    return words if step in ("in-service", "report", "extract") else [*words, "--config", str(root / "config.yaml")]


class Steps:
    """The steps one after the other in one directory."""

    def __init__(self, directory: Path) -> None:
        self._root, self._output, self._count = directory / "root", directory / "output", directory / "count"
        self.wrong: list[str] = []
        self.tried: dict[str, int] = {}
        self._root.mkdir(parents=True)
        (self._root / "config.yaml").write_text(CONFIG)
        words = ["generate", "--output", str(self._root / "log.csv"), "--users", "200", "--items", "150", "--events-per-user", "16"]
        code, text = forked(command(words), self._output)
        if code:
            raise AssertionError(text)

    def _run(self, step: str, call: int, error: int, *, growing: bool) -> tuple[int, str, int]:
        def arm() -> None:
            FAULTS.fault_arm(os.fsencode(self._root), call, error, 1, int(growing))

        def work() -> int:
            code = command(words_of(step, self._root), arm)()
            count = FAULTS.fault_count()
            FAULTS.fault_arm(b"", 0, 0, 0, 0)
            self._count.write_text(str(count))
            return code

        self._count.write_text("0")
        code, text = forked(work, self._output)
        return code, text, int(self._count.read_text())

    def visit(self, step: str) -> None:
        """Every fault at some of the step's calls, then the step without one."""
        output = self._root / OUTPUTS.get(step, step.replace("-", "_"))
        service = self._root / "service"
        kept = self._root.with_name("service")
        if service.exists():
            shutil.copytree(service, kept)
        code, text, count = self._run(step, 0, 0, growing=True)
        if code:
            self.wrong.append(f"{step} without a fault: {text[-600:]}")
            return
        whole = self._root.with_name("whole")
        output.rename(whole)
        for number, growing, calls in (
            (errno.ENOSPC, True, sorted({1, count // 3, 2 * count // 3, count - 1})),
            (errno.EROFS, False, [1]),
            (errno.EIO, True, [count // 2]),
        ):
            for call in (call for call in calls if call > 0):
                shutil.rmtree(service, ignore_errors=True)
                if kept.exists():
                    shutil.copytree(kept, service)
                shutil.rmtree(output.with_name(f".{output.name}.partial"), ignore_errors=True)
                self._fault(step, output, call, number, growing=growing)
        shutil.rmtree(output.with_name(f".{output.name}.partial"), ignore_errors=True)
        shutil.rmtree(service, ignore_errors=True)
        if kept.exists():
            shutil.copytree(kept, service)
            shutil.rmtree(kept)
        shutil.rmtree(output, ignore_errors=True)
        if step in ("in-service", "publish"):
            shutil.rmtree(whole)
            code, text, _ = self._run(step, 0, 0, growing=True)
        else:
            whole.rename(output)

    def _fault(self, step: str, output: Path, call: int, number: int, *, growing: bool) -> None:
        code, text, _ = self._run(step, call, number, growing=growing)
        when = f"{step}, {errno.errorcode[number]} from call {call} on"
        self.tried[step] = self.tried.get(step, 0) + 1
        lines = [line for line in text.strip().splitlines() if " WARNING " not in line and " error: " not in f" {line}"]
        told = [line for line in text.splitlines() if line.startswith("error: ")]
        reasons = (os.strerror(number), "written in part")
        if code != 1 or len(told) != 1 or str(self._root) not in told[0] or not any(reason in told[0] for reason in reasons):
            self.wrong.append(f"{when}: exit code {code}: {text.strip()[-900:]}")
        elif "Traceback" in text:
            self.wrong.append(f"{when}: a traceback: {lines[-1:]}")
        if output.exists():
            self.wrong.append(f"{when}: {output.name} is there")


def run() -> None:
    code_digest()
    steps = Steps(Path(sys.argv[1]))
    for step in STEPS:
        steps.visit(step)
        print(step, steps.tried.get(step), steps.wrong[-4:], flush=True)
    print(json.dumps({"tried": steps.tried, "wrong": steps.wrong}))


if __name__ == "__main__":
    run()

"""A task's own log file, and its end when the run that started it is gone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

RUNNER_PID_VARIABLE = "NANN_RUNNER_PID"


@contextmanager
def tee_output(path: Path) -> Iterator[None]:
    """Copies everything this process and its libraries write to stdout and stderr into a file as well, replacing it.

    The copy is made by `tee` outside this process, so that the log of a step that is killed or crashes in native code is complete.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    sys.stdout.flush()
    sys.stderr.flush()
    kept = os.dup(1), os.dup(2)
    # -i: an interrupt reaches the whole process group, and the log must outlive the step's own clean-up.
    tee = subprocess.Popen(["tee", "-i", str(path)], stdin=subprocess.PIPE)
    os.dup2(tee.stdin.fileno(), 1)
    os.dup2(tee.stdin.fileno(), 2)
    tee.stdin.close()
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        os.close(kept[0])
        os.close(kept[1])
        tee.wait()


def follow_parent() -> None:
    """Ends this process soon after the local runner named by the environment is gone (killed), so that no orphan keeps writing.

    Without the variable, as on a cluster, nothing happens.
    """
    runner = os.environ.get(RUNNER_PID_VARIABLE)
    if runner is None:
        return

    def watch(pid: int) -> None:
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                os._exit(1)
            time.sleep(0.5)

    threading.Thread(target=watch, args=(int(runner),), daemon=True).start()

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

# Names a file that a local runner keeps for as long as its run goes on, with the runner's process id as its text.
RUN_SIGN_VARIABLE = "NANN_RUN_SIGN"


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
    out, into = os.pipe()
    tee = subprocess.Popen(["tee", "-i", str(path)], stdin=out)
    os.close(out)
    os.dup2(into, 1)
    os.dup2(into, 2)
    os.close(into)
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


def follow_runner() -> None:
    """Ends this process soon after the local runner named by the environment has taken its sign away (interrupted) or is gone (killed).

    Without it, a step would go on to its end although nobody waits for it. Without the variable, as on a cluster, nothing happens.
    """
    name = os.environ.get(RUN_SIGN_VARIABLE)
    if name is None:
        return

    def watch(sign: Path) -> None:
        try:
            runner = int(sign.read_text(encoding="ascii"))
            while sign.exists():
                os.kill(runner, 0)
                time.sleep(0.5)
        except (FileNotFoundError, ProcessLookupError):
            pass
        os._exit(1)

    threading.Thread(target=watch, args=(Path(name),), daemon=True).start()

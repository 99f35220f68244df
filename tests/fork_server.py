"""Runs programs as `python -c` does, in forks of a process that has TensorFlow imported and has done nothing else.

Reads a request per line of stdin and answers it with a line of stdout, both JSON: ``start`` gives the `pid` of a program, ``wait`` its
`returncode`, null while it runs after `seconds`.
"""

import json
import os
import sys
import time

import tensorflow  # noqa: F401 (what the forks have already)


def start(request: dict) -> bool:
    """Whether this is the fork, which then has streams, environment, directory and arguments of its own."""
    sys.stdout.flush()
    if child := os.fork():
        print(json.dumps({"pid": child}), flush=True)
        return False
    for number, path in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), number)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv = ["-c", *request["arguments"]]
    sys.path[0:1] = ["", *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return True


def wait(pid: int, seconds: float) -> int | None:
    """The exit code of a fork, negative a signal; None if it still runs at the end of the time."""
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            return None
        time.sleep(0.01)


def program() -> str:
    """Serves until stdin ends; returns in each fork, with what it is to run."""
    for request in map(json.loads, iter(sys.stdin.readline, "")):
        if "code" not in request:
            print(json.dumps({"returncode": wait(request["pid"], request["seconds"])}), flush=True)
        elif start(request):
            return request["code"]
    sys.exit()


exec(compile(program(), "<string>", "exec"), {"__name__": "__main__"})

"""The end of a run posted to a webhook, so that somebody hears of it; whatever happens here, the run is not failed by it.

The address comes from the environment, where a secret puts it: addresses of webhooks often are the key to them, so it is never logged.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from typing import Any

from nann.reporting.run_summary import RunSummary

URL_VARIABLE = "NANN_WEBHOOK_URL"
TIMEOUT_VARIABLE = "NANN_WEBHOOK_TIMEOUT_SECONDS"
DEFAULT_TIMEOUT_SECONDS = 10.0
LONGEST_TIMEOUT_SECONDS = 3600.0
logger = logging.getLogger(__name__)


def post_run_end(summary: RunSummary, *, run: str = "", run_dir: str = "") -> bool:
    """Posts how a run ended as JSON to the address in `URL_VARIABLE`; does nothing when there is none.

    Args:
        summary: the end of the run.
        run: its id on the server, or "".
        run_dir: its directory, or "".

    Returns:
        Whether it arrived (a status below 300 within the time-out).
    """
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        return False
    outcome: list[str] = []
    # The limits of a socket hold for each of its operations; the thread's is that of all of them together, name resolution included.
    sender = threading.Thread(target=_send, args=(url, run_end_message(summary, run=run, run_dir=run_dir), outcome), daemon=True)
    sender.start()
    seconds = _timeout_seconds()
    sender.join(seconds)
    result = outcome[0] if outcome else f"no answer within {seconds:g} s"
    if result:
        logger.warning("the end of the run was not posted to the webhook: %s", result)
    else:
        logger.info("the end of the run was posted to the webhook")
    return not result


def run_end_message(summary: RunSummary, *, run: str = "", run_dir: str = "") -> dict[str, Any]:
    """What is posted: ``text`` (one line for people, as chat systems show it) and the same as fields."""
    where = f": {summary.failed_step or 'the run'}: {summary.error}" if summary.error else ""
    return {
        "text": f"run {run or run_dir or '(unnamed)'} {summary.state}{where}",
        "run": run,
        "run_dir": run_dir,
        "state": summary.state,
        "error": summary.error,
        "failed_step": summary.failed_step,
        "steps": [{"step": entry["step"], "status": entry["status"], "seconds": entry["seconds"]} for entry in summary.steps],
    }


def _send(url: str, message: dict[str, Any], outcome: list[str]) -> None:
    """Puts "" into the outcome, or why it failed; without the address, which exceptions have in their text."""
    if not url.startswith(("http://", "https://")):
        outcome.append("its address begins neither with http:// nor with https://")
        return
    try:
        import urllib3

        body = json.dumps(message).encode()
        with urllib3.PoolManager(timeout=_timeout_seconds(), retries=False) as pool:
            answer = pool.request("POST", url, body=body, headers={"Content-Type": "application/json"})
        outcome.append("" if answer.status < 300 else f"it answers {answer.status}")
    except Exception as error:
        outcome.append(type(error).__name__)


def _timeout_seconds() -> float:
    try:
        seconds = float(os.environ.get(TIMEOUT_VARIABLE, ""))
    except ValueError:
        return DEFAULT_TIMEOUT_SECONDS
    return seconds if 0 < seconds <= LONGEST_TIMEOUT_SECONDS else DEFAULT_TIMEOUT_SECONDS

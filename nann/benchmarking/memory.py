"""Memory of this process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

PAGES = Path("/proc/self/statm")


def peak_rss_bytes() -> int:
    """Highest resident memory of this process so far, whatever ran in it before."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def rss_bytes() -> int:
    """Resident memory of this process now; its highest so far where the system does not tell."""
    if not PAGES.exists():
        return peak_rss_bytes()
    return int(PAGES.read_text().split()[1]) * resource.getpagesize()

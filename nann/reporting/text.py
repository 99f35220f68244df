"""Numbers as a person reads them."""

from __future__ import annotations

from collections.abc import Iterable

from nann.evaluation.intervals import wilson


def number_text(value: float | int | None, digits: int = 3) -> str:
    """Whole numbers with thousands separators, others with ``digits`` significant digits at least; "-" for None."""
    if value is None:
        return "-"
    if isinstance(value, int) or float(value).is_integer() or abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.{digits}g}" if abs(value) < 1 else f"{value:.{max(0, digits - len(str(int(abs(value)))))}f}"


def share_text(value: float | None) -> str:
    """A share of 1 as per cent; "-" for None."""
    return "-" if value is None else f"{100 * value:.1f} %"


def bytes_text(size_bytes: float) -> str:
    """Bytes in the largest decimal unit that leaves at least 1: 12.3 MB."""
    size, unit = float(size_bytes), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(size) < 999.95 or unit == "TB":
            break
        size /= 1000
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def seconds_text(seconds: float) -> str:
    """Seconds below a minute with one decimal, then minutes and seconds, then hours and minutes."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def share_range_text(share: float, users: int, digits: int = 3) -> str:
    """The 95 % interval of a share of users (Wilson): ``0.110 to 0.137``; empty without users."""
    if not users:
        return ""
    low, high = wilson(share * users, users)
    return f"{low:.{digits}f} to {high:.{digits}f}"


def list_lengths(names: Iterable[str]) -> list[int]:
    """The K of the metrics in a ``metrics.json``, ascending."""
    return sorted(int(name.partition("@")[2]) for name in names if name.startswith("recall_all@"))

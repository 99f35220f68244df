"""The error of this package: the log, not the program, needs mending.

Exception
└── DataError    a log or item file is missing, unreadable, or does not hold what the configuration says
"""


class DataError(Exception):
    """Input data cannot be used; the message says which rule, the value found, and what mends it."""

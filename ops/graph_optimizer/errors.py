"""What sample-aware compression refuses."""

from __future__ import annotations


class GraphCompressionError(ValueError):
    """The graph cannot be compressed without changing its result; the message names the node and the way out.

    Attributes:
        node: name of the node that stands in the way, or "" when it is not one node.
    """

    def __init__(self, message: str, *, node: str = "") -> None:
        super().__init__(message)
        self.node = node

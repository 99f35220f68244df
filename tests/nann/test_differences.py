from typing import Any

import pytest

from nann.differences import difference_text


@pytest.mark.parametrize(
    ("before", "now", "text"),
    [
        ({"a": 1, "b": [1, 2]}, {"a": 1, "b": [1, 2]}, ""),
        ({"a": 1, "b": 2}, {"a": 1, "b": 3}, "b was 2, is now 3"),
        ({"a": 1}, {"a": 1, "b": "x"}, 'b was absent, is now "x"'),
        ({"base": {"lr": 0.1, "k": 1}}, {"base": {"lr": 0.2, "k": 1}}, "base.lr was 0.1, is now 0.2"),
        ({"digest": "a" * 64}, {"digest": "b" * 64}, "digest"),
        ({str(n): n for n in range(5)}, {}, "0 was 0, is now absent; 1 was 1, is now absent; 2 was 2, is now absent; and 2 more"),
        (None, {"a": 1}, "a was absent, is now 1"),
    ],
)
def test_what_differs_is_named(before: Any, now: Any, text: str) -> None:
    assert difference_text(before, now) == text

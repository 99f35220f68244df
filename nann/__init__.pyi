from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nann.artifacts import StepResult
from nann.errors import NannError as NannError
from nann.explanation import Explanation
from nann.serving.retriever import Recommended as Recommended
from nann.serving.retriever import Retriever as Retriever

__version__: str
__all__: list[str]

convert: Callable[..., StepResult]
train: Callable[..., StepResult]
extract: Callable[..., StepResult]
build_index: Callable[..., StepResult]
rewrite: Callable[..., StepResult]
evaluate: Callable[..., StepResult]
benchmark: Callable[..., StepResult]
report: Callable[..., StepResult]

def generate(output: str | Path, *, overwrite: bool = ..., **options: Any) -> StepResult: ...
def explain(
    path: str | Path, item: Any, history: Sequence[Any], *, values: Mapping[str, Sequence[str]] | None = ..., allow_own_models: bool = ...
) -> Explanation: ...

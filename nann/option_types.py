"""What options of steps are made of."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class StepConfig(BaseModel):
    """Base: frozen, unknown keys refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class OpensModels(StepConfig):
    """Base for steps that open models which others may have made."""

    allow_own_models: bool = Field(
        False,
        description="import the class of one's own that a model names, run graphs with ops beside those of our exports; "
        "whoever can write the model then runs code here",
    )


def stored_params(config: BaseModel, *more: str) -> dict[str, Any]:
    """The options that a manifest holds: not whom was trusted, which changes no outcome, and none of ``more``."""
    return config.model_dump(exclude={"allow_own_models", *more})


Count = Annotated[int, Field(ge=1)]  # elements of lists
NotNegative = Annotated[int, Field(ge=0)]
NotNegativeNumber = Annotated[float, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Hours = Annotated[float, Field(gt=0)]

GraphForm = Literal["native", "fused", "portable", "meta"]
GRAPH_FORMS = "native, fused or portable, the SavedModels, or meta: 0.meta with frozen_graph.pb linked in"

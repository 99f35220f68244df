"""Options of `nann serve`."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nann.option_types import OpensModels


class ServeConfig(OpensModels):
    """Options of `nann serve`."""

    host: str = Field("127.0.0.1", min_length=1, description="address to listen on; others than loopback have no authentication in front")
    port: int = Field(8501, ge=0, le=65535, description="port; 0: a free one")
    model_name: str = Field("nann", pattern=r"^[A-Za-z0-9_-]+$", description="name of the model in the paths")
    graph: Literal["best", "fused", "native", "portable"] = Field(
        "best", description="exported form to serve: fused, native or portable; best: the first of these that loads"
    )
    max_batch: int = Field(64, ge=1, description="users per call of the graph, of requests batched together; a larger request goes alone")
    batch_wait_ms: float = Field(1, ge=0, le=10000, description="longest wait of a request for others; 0: only while the graph is busy")
    threads: int = Field(2, ge=1, description="calls of the graph at a time")
    max_users: int = Field(256, ge=1, description="most users in one request; more is an error")
    max_history: int = Field(1000, ge=1, description="most items in a history; more is an error")
    max_body_bytes: int = Field(2**20, ge=1, description="most bytes of a request's body; more is an error")
    max_waiting: int = Field(256, ge=1, description="most requests waiting for the graph; more are refused with 503")
    body_seconds: float = Field(10, gt=0, description="longest time for a body to arrive")
    poll_seconds: float = Field(2, gt=0, description="how often the pointer of a service is looked at")
    stop_seconds: int = Field(30, ge=0, description="after SIGTERM, longest time for what is running to finish")

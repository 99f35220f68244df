"""The options of `nann add-items`."""

from __future__ import annotations

from pydantic import Field

from nann.option_types import OpensModels


class AddItemsConfig(OpensModels):
    """Options of `nann add-items`."""

    keep: int = Field(5, ge=2, description="with --service: versions to keep, the one in service among them")
    smoke_users: int = Field(
        20, ge=0, description="with --service: users whose lists the published version must answer as before; 0: no test"
    )
    threads: int = Field(1, ge=1, description="threads that insert into the graph; only 1 gives byte-identical indexes")

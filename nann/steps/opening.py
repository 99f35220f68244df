"""How every step begins: its inputs are opened and verified, what does not belong together is refused, and its artifact's writer made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nann.artifacts import Artifact, ArtifactWriter, open_artifact, require_same_ancestor
from nann.option_types import stored_params
from nann.placing import Place
from nann.steps.table import MAKER_OF, STEP_BY_NAME


class StepWriter(ArtifactWriter):
    """The writer of a step's artifact.

    Attributes:
        artifacts: the opened inputs by name, in the order of the table.
    """

    artifacts: dict[str, Artifact]


def open_step(
    name: str,
    arguments: Mapping[str, Any],
    *,
    params: Mapping[str, Any] | None = None,
    more_inputs: Mapping[str, Artifact | str] | None = None,
) -> StepWriter:
    """Opens the inputs of a step and makes the writer of its artifact, as the table of steps says.

    Args:
        name: the step, as on the command line.
        arguments: those of the step function by name, as ``locals()`` has them in its first line: the paths of what the step reads and
            writes, ``config`` if it has one, ``overwrite``. Others are left alone.
        params: what the manifest says about its parameters; default: all options of the config.
        more_inputs: name -> further artifacts, or sha256 of files, that it was made from.

    Raises:
        ArtifactError: an input is unusable, inputs do not belong together, or the artifact's path holds something else.
    """
    step = STEP_BY_NAME[name]
    Place(arguments[step.writes], name).require_ours()  # before the inputs are read through
    opened = {artifact: open_artifact(arguments[artifact], step=MAKER_OF[artifact]) for artifact in step.reads}
    require_one_lineage(opened)
    if params is None:
        params = stored_params(arguments["config"]) if step.config else {}
    inputs = {**(more_inputs or {}), **opened}
    writer = StepWriter(
        arguments[step.writes],
        step=name,
        params=params,
        inputs=inputs,
        resumable=step.resumable,
        overwrite=arguments["overwrite"],
    )
    writer.artifacts = opened
    return writer


def require_one_lineage(artifacts: Mapping[str, Artifact]) -> None:
    """Refuses artifacts of different runs: one that was made from another one of them must be made from that very one.

    Each is compared with its nearest ancestors among the others, which have those further away in their own lineage.

    Raises:
        ArtifactError: names the first that does not belong to its ancestor, the first as the steps make them.
    """
    for name in (name for name in MAKER_OF if name in artifacts):
        ancestors = [other for other in artifacts if other in artifacts[name].lineage]
        further = {other for near in ancestors for other in artifacts[near].lineage}
        for ancestor in ancestors:
            if ancestor not in further:
                require_same_ancestor(ancestor, artifacts[ancestor], artifacts[name])

"""Compiled pipelines kept on the server, version after version, for schedules that run the newest one."""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pipelines.cluster import Cluster

CREATED, NEW_VERSION, UNCHANGED = "created", "new version", "unchanged"
_DIGITS = 12


@dataclass(frozen=True)
class Upload:
    """What an upload did, or would do.

    Attributes:
        action: `CREATED`, `NEW_VERSION`, or `UNCHANGED` when the newest version on the server has the same document.
        pipeline_id: of the pipeline on the server; "" when it is yet to be made.
        version: name of its newest version.
    """

    action: str
    pipeline_id: str
    version: str


def server_name(pipeline: str, profile: str) -> str:
    """The pipeline's name on the server; the profile is part of it, because it is compiled into the document.

    Args:
        pipeline: "training" or "retraining".
        profile: name or file of a resource profile, or "".
    """
    return "-".join(filter(None, ["nann", pipeline, Path(profile).stem]))


def upload_pipeline(cluster: Cluster, name: str, text: str, *, dry_run: bool = False) -> Upload:
    """Makes a compiled pipeline the newest version of a pipeline on the server; doing it twice changes nothing.

    A version is named by the digest of its document and the time, since a name can be given once only, and an older document may come back.

    Args:
        cluster: the server.
        name: of the pipeline there.
        text: the compiled document (YAML).
        dry_run: only say what would be done.

    Raises:
        ClusterError: the server refuses or does not answer.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    version = f"{digest}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    pipeline_id = cluster.pipeline_id(name)
    if pipeline_id:
        newest = cluster.newest_version(pipeline_id)
        if newest.startswith(digest):
            return Upload(UNCHANGED, pipeline_id, newest)
    action = NEW_VERSION if pipeline_id else CREATED
    if dry_run:
        return Upload(action, pipeline_id, version)
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "pipeline.yaml"
        file.write_text(text, encoding="utf-8")
        pipeline_id = pipeline_id or cluster.create_pipeline(name)
        cluster.create_version(pipeline_id, version, file)
    return Upload(action, pipeline_id, version)

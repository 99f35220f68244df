"""The one place that says which container image the components run in.

`containers/images.lock` (YAML, written by `make images`) names images by digest, ``cpu: registry/name@sha256:...``, and the digest of the
sources in them, ``cpu_code_digest: ...``. Without it, or when it is of other sources, the image is tagged with the commit of the source
tree, or with the package version where there is no commit; never `latest`.
"""

import functools
import logging
import re
import subprocess
from pathlib import Path

import nann
from data_prep.opening import shown
from nann.contents import parse_yaml
from nann.digests import code_digest
from nann.errors import NannError

logger = logging.getLogger(__name__)

REPOSITORY = "nann-pipeline"
LOCK_PATH = Path(__file__).parent.parent / "containers" / "images.lock"


@functools.cache
def image(flavour: str = "cpu", lock: Path = LOCK_PATH) -> str:
    """Reference of the image of a flavour ("cpu" or "gpu").

    Raises:
        NannError: the lock names the image without a digest.
    """
    if lock.is_file():
        images = parse_yaml(lock.read_bytes(), lock, "a list of images", remedy="run `make images`", error=NannError) or {}
        if not isinstance(images, dict):
            raise NannError(f"{lock} must hold lines `FLAVOUR: IMAGE@sha256:DIGEST`, but it holds {shown(images)}; run `make images`")
        reference = str(images.get(flavour, ""))
        if reference and not re.fullmatch(r"\S+@sha256:[0-9a-f]{64}", reference):
            raise NannError(f"{lock} must name an image with its digest for {flavour!r}, but it has {reference!r}")
        if reference and images.get(f"{flavour}_code_digest", code_digest()) == code_digest():
            return reference
        logger.info("%s has no %s image of these sources, so the commit's tag is used; `make images` writes it anew", lock, flavour)
    return f"{REPOSITORY}:{source_tag()}-{flavour}"


def source_tag() -> str:
    """The commit of the source tree (12 digits), or ``v`` and the package version outside a checkout."""
    root = Path(nann.__file__).parent.parent
    if (root / ".git").exists():
        try:
            done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=root, capture_output=True, text=True, check=True)
            return done.stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            pass
    return "v" + nann.__version__.replace("+", "-")

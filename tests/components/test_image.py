from pathlib import Path

import pytest

from components.image import image, source_tag
from nann.digests import code_digest
from nann.errors import NannError

DIGEST = "sha256:" + "a" * 64


def test_without_a_lock_the_tag_says_which_sources(tmp_path: Path) -> None:
    reference = image("cpu", tmp_path / "images.lock")
    assert reference == f"nann-pipeline:{source_tag()}-cpu"
    assert not reference.endswith("latest")


def test_the_lock_gives_a_digest(tmp_path: Path) -> None:
    lock = tmp_path / "images.lock"
    lock.write_text(f"cpu: registry.example/nann@{DIGEST}\n")
    assert image("cpu", lock) == f"registry.example/nann@{DIGEST}"


@pytest.mark.parametrize("text", ["cpu: nann\n", "cpu: registry.example/nann:latest\n", "cpu: nann@sha256:12\n"])
def test_a_lock_without_a_digest_is_refused(tmp_path: Path, text: str) -> None:
    lock = tmp_path / "images.lock"
    lock.write_text(text)
    with pytest.raises(NannError, match="must name an image with its digest for 'cpu'"):
        image("cpu", lock)


def test_a_lock_without_the_flavour_is_not_used(tmp_path: Path) -> None:
    lock = tmp_path / "images.lock"
    lock.write_text(f"gpu: registry.example/nann@{DIGEST}\n")
    assert image("cpu", lock) == f"nann-pipeline:{source_tag()}-cpu"


@pytest.mark.parametrize(("digest", "used"), [(code_digest(), True), ("0" * 64, False)])
def test_a_lock_of_other_sources_is_not_used(tmp_path: Path, digest: str, used: bool) -> None:
    lock = tmp_path / "images.lock"
    lock.write_text(f"cpu: registry.example/nann@{DIGEST}\ncpu_code_digest: {digest}\n")
    assert (image("cpu", lock) == f"registry.example/nann@{DIGEST}") == used

"""Makes one small artifact of each kind with a given version of the sources, and packs them.

    python tests/artifacts/make_earlier.py --source ../that-version --output tests/artifacts/0.1.0.tar.xz

`--source` is a checkout with its native libraries in `ops/`. Equal sources give equal files, but for the random identity of
tables that grow: times in `training.json` and the events for TensorBoard are taken out of the models before anything is made from them.
`tests/pipelines/test_earlier_artifacts.py` uses the archives with the sources as they are now.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

# An editable installation would put its own sources first.
RUN = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if "Scikit" not in type(finder).__name__]
sys.path.insert(0, sys.argv.pop(1))
from pipelines.cli import main
main()
"""
MODEL = ["--scorer", "two-sided", "--emb-dim", 4, "--batch-size", 16, "--max-steps", 30, "--validations", 1]
GROWING = ["--embedding", "ev", "--promote-after", 2, "--inputs", "time", "--memory", "none"]


def nann(source: Path, directory: Path, *arguments: object) -> None:
    environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3", "TF_NUM_INTRAOP_THREADS": "1"}
    command = [sys.executable, "-c", RUN, str(source.resolve()), *map(str, arguments), "--quiet"]
    subprocess.run(command, cwd=directory, env=environment, check=True, stdout=subprocess.DEVNULL)


def settle(model: Path) -> None:
    """Takes times out of a trained model."""
    shutil.rmtree(model / "events")
    records = json.loads((model / "training.json").read_text(encoding="utf-8"))
    text = json.dumps([{**record, "samples_per_s": 0.0} for record in records], indent=1) + "\n"
    (model / "training.json").write_text(text, encoding="utf-8")
    manifest = json.loads((model / "manifest.json").read_text(encoding="utf-8"))
    manifest["files"] = {name: entry for name, entry in manifest["files"].items() if not name.startswith("events/")}
    manifest["files"]["training.json"] = {"sha256": hashlib.sha256(text.encode()).hexdigest(), "size_bytes": len(text.encode())}
    (model / "manifest.json").write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def make(source: Path, root: Path) -> None:
    nann(source, root, "generate", "--output", "log.csv", "--users", 150, "--items", 60, "--categories", 4, "--seed", 5)
    nann(source, root, "convert", "--input", "log.csv", "--dataset", "dataset", "--max-length", 10, "--layout", "user")
    nann(source, root, "train", "--dataset", "dataset", "--model", "model", *MODEL, "--memory-successors", 8, "--keep-moments")
    settle(root / "model")
    nann(source, root, "extract", "--output-root", ".")
    nann(source, root, "build-index", "--output-root", ".", "--m", 4)
    nann(source, root, "rewrite", "--output-root", ".", "--ef", "30,20", "--rounds", "3,1", "--top-k", 20)
    nann(source, root, "evaluate", "--output-root", ".", "--ks", "5,20")
    nann(source, root, "train", "--dataset", "dataset", "--model", "growing_model", *MODEL, *GROWING)
    settle(root / "growing_model")


def pack(root: Path, output: Path) -> None:
    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        entry.uid = entry.gid = entry.mtime = 0
        entry.uname = entry.gname = ""
        entry.mode = 0o755 if entry.isdir() else 0o644
        return None if Path(entry.name).name.startswith(".") and entry.name != "." else entry

    with tarfile.open(output, "w:xz", format=tarfile.PAX_FORMAT) as archive:
        for path in sorted(root.iterdir()):
            archive.add(path, path.name, filter=plain)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        make(arguments.source, Path(temporary))
        pack(Path(temporary), arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()

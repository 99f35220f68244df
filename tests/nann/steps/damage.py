"""A small run, ways to damage its files with manifests that match again, and the command that reads each file."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pipelines.cli import main

ORDER = ("dataset", "model", "embeddings", "index", "converted_model", "evaluation", "benchmark")
SMALL = ("--scorer=nann", "--emb-dim=8", "--max-steps=3", "--batch-size=32", "--num-neg=16", "--no-xla", "--validations=1")
NOT_READ = ("index/hnsw.bin", "converted_model/rewrite_report.json", "converted_model/model_card.md", "model/memory_report.json")
NOT_READ_PARTS = ("report.html", "assets.extra", "saved_model/native", "model/events", "training_speed")
NESTED = "[" * 3000 + "]" * 3000
VALUES: dict[str, str] = {"null": "null", "list": "[]", "text": '"x"', "huge": "1" + "0" * 400, "large": str(2**62), "nested": NESTED}
COMMANDS = {
    "train": ("train", "--model={out}", *SMALL, "--memory=none", "--validate-users=4"),
    "evaluate": ("evaluate", "--evaluation={out}", "--ks=5", "--max-users=4", "--curve-users=0", "--tune-users=4", "--decays=0.8"),
    "extract": ("extract", "--embeddings={out}"),
    "build-index": ("build-index", "--index={out}", "--m=4", "--ef-construction=20"),
    "rewrite": ("rewrite", "--converted-model={out}", "--ef=10,5", "--rounds=1,1", "--top-k=10"),
    "report": ("report", "--report={out}"),
    "infer": ("infer", "--item-ids={items}"),
    "infer meta": ("infer", "--item-ids={items}", "--graph=meta"),
    "infer fused": ("infer", "--item-ids={items}", "--graph=fused"),
}


@dataclass(frozen=True)
class Run:
    """A directory of artifacts, and ids of some of its items."""

    root: Path
    items: str

    def files(self) -> list[str]:
        """What some command reads, by path below the root."""
        found = sorted(str(path.relative_to(self.root)) for name in ORDER for path in (self.root / name).rglob("*") if path.is_file())
        return [name for name in found if name not in NOT_READ and not any(part in name for part in NOT_READ_PARTS)]

    def copy(self, root: Path) -> Run:
        """The same files again, as links."""
        shutil.copytree(self.root, root, copy_function=os.link)
        return Run(root, self.items)


def nann(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def make_run(root: Path) -> Run:
    """Every artifact that a report is made of."""
    log, common = root / "log.csv", (f"--output-root={root}", "--quiet")
    for command in (
        ("generate", f"--output={log}", "--users=120", "--items=60", "--categories=5", "--events-per-user=8", "--quiet"),
        ("convert", f"--input={log}", "--shards=1", *common),
        ("train", *SMALL, "--memory-successors=8", "--validate-users=4", *common),
        ("extract", *common),
        ("build-index", "--m=4", "--ef-construction=20", *common),
        ("rewrite", "--ef=10,5", "--rounds=1,1", "--top-k=10", *common),
        ("evaluate", "--ks=5", "--max-users=8", "--curve-users=4", "--decays=0.8", "--tune-users=4", *common),
        ("benchmark", "--duration-seconds=0.05", "--warmup-seconds=0", "--traced-requests=0", *common),
    ):
        result = nann(*command)
        assert result.exit_code == 0, (command, result.output, result.stderr)
    ids = [line.split(",")[1] for line in log.read_text().splitlines()[1:4]]
    return Run(root, ",".join(ids))


def reader_of(file: str) -> str:
    """The name of a command that reads a file of a run."""
    artifact, name = file.split("/")[0], file.split("/", 1)[1]
    if name == "manifest.json":
        return {"dataset": "evaluate", "model": "extract", "embeddings": "build-index", "index": "rewrite", "converted_model": "infer"}.get(
            artifact, "report"
        )
    if artifact == "dataset":
        return "train" if name.startswith("train") else "evaluate"
    if artifact == "model":
        return "report" if name == "training.json" else "rewrite" if name.startswith("memory") else "extract"
    if artifact == "converted_model":
        if "fused" in name:
            return "infer fused"
        return "infer" if "portable" in name else "evaluate" if name == "0.index" else "infer meta"
    return {"embeddings": "build-index", "index": "rewrite"}.get(artifact, "report")


def read(run: Run, command: str, out: Path) -> Result:
    """Runs a command on a run; what it writes lies at ``out``."""
    name, *options = COMMANDS[command]
    filled = [option.format(out=out, items=run.items) for option in options]
    return nann(name, f"--output-root={run.root}", *filled, "--quiet")


def replace(path: Path, content: bytes) -> None:
    """Writes a file anew; the one it was linked with keeps its content."""
    path.unlink()
    path.write_bytes(content)


def forge(run: Run) -> None:
    """Makes all manifests match the files that are there, and one another."""
    digests: dict[str, str] = {}
    for name in ORDER:
        path = run.root / name / "manifest.json"
        manifest = json.loads(path.read_bytes())
        for file, entry in manifest["files"].items():
            content = (run.root / name / file).read_bytes()
            entry.update(size_bytes=len(content), sha256=hashlib.sha256(content).hexdigest())
        for links in (manifest["inputs"], manifest["lineage"]):
            links.update({source: digest for source, digest in digests.items() if source in links})
        raw = (json.dumps(manifest, indent=1, sort_keys=True) + "\n").encode()
        replace(path, raw)
        digests[name] = hashlib.sha256(raw).hexdigest()


def damages_of_bytes(content: bytes) -> Iterator[tuple[str, bytes]]:
    yield "empty", b""
    yield "half", content[: len(content) // 2]
    yield "shorter by one", content[:-1]
    for share in (0.01, 0.3, 0.6, 0.95):
        place = int(share * len(content))
        yield f"flipped at {share}", content[:place] + bytes([content[place] ^ 0xFF]) + content[place + 1 :]
    yield "longer", content + b"\0junk"


def damages_of_json(content: bytes, depth: int = 3) -> Iterator[tuple[str, bytes]]:
    """Every place of a document down to a depth, but for later entries of long lists, with each of `VALUES`, and without it."""
    value, mark = json.loads(content), "\u2603"
    for where in [(), *_places(value, depth)]:
        changed = json.loads(content)
        if not where:
            for name, text in VALUES.items():
                yield f"all {name}", text.encode()
            continue
        above: Any = changed
        for key in where[:-1]:
            above = above[key]
        above[where[-1]] = mark
        template = json.dumps(changed)
        for name, text in VALUES.items():
            yield f"{'.'.join(map(str, where))} {name}", template.replace(json.dumps(mark), text).encode()
        del above[where[-1]]
        yield f"{'.'.join(map(str, where))} missing", json.dumps(changed).encode()


def _places(value: Any, depth: int) -> Iterator[tuple[Any, ...]]:
    entries = list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    for key, below in entries[:40] if isinstance(value, dict) else entries[:1]:
        yield (key,)
        if depth > 1:
            yield from ((key, *rest) for rest in _places(below, depth - 1))


def complaint_about(result: Result) -> str:
    """What is wrong with how a command ended; nothing where it succeeded, or failed in one line."""
    if result.exit_code == 0:
        return ""
    if result.exit_code not in (1, 2) or not isinstance(result.exception, SystemExit):
        return f"exit {result.exit_code} {result.exception!r}"
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    if "Traceback" in result.output + result.stderr or len(errors) != 1:
        return f"no one line: {result.stderr[-600:]}"
    return ""

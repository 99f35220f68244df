"""A run up to the converted model, on a generated log, with a scorer that was never trained: retrieval does not mind."""

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data_prep.config import ConvertConfig, GenerateConfig
from data_prep.generate import generate_log
from nann.artifacts import ArtifactWriter, open_artifact
from nann.config import BuildIndexConfig, ExtractConfig, RewriteConfig, TrainConfig
from nann.dataset import load_items
from nann.models import build_model, save_model
from nann.steps.build_index import build_index
from nann.steps.convert import convert
from nann.steps.extract import extract
from nann.steps.rewrite import rewrite

SEARCH = RewriteConfig(ef=(30, 20), rounds=(4, 1), top_k=20)


@dataclass(frozen=True)
class Run:
    root: Path

    @property
    def artifacts(self) -> dict[str, Path]:
        return {name: self.root / name for name in ("model", "dataset", "embeddings", "index")}

    @property
    def converted_model(self) -> Path:
        return self.root / "converted_model"


def write_model(dataset: Path, model: Path, config: TrainConfig, *, max_length: int = 20) -> None:
    items = load_items(dataset)
    scorer = build_model(config, num_items=len(items.item_ids) - 1, num_categories=items.num_categories)
    writer = ArtifactWriter(model, step="train", params=config.model_dump(), inputs={"dataset": open_artifact(dataset, step="convert")})
    with writer as directory:
        save_model(scorer, directory, config=config, max_length=max_length)


def make_run(root: Path, *, seed: int = 1, strings: bool = False, exported: bool = True) -> Run:
    run = Run(root)
    paths = run.artifacts
    log = root / "log.csv"
    generate_log(log, GenerateConfig(users=300, items=400, categories=10, events_per_user=10, seed=seed))
    convert(inputs=[log], dataset=paths["dataset"], config=ConvertConfig(id_type="string" if strings else "auto"))
    write_model(paths["dataset"], paths["model"], TrainConfig(scorer="nann", emb_dim=8, seed=seed))
    extract(model=paths["model"], dataset=paths["dataset"], embeddings=paths["embeddings"], config=ExtractConfig())
    build_index(embeddings=paths["embeddings"], index=paths["index"], config=BuildIndexConfig(m=4, ef_construction=40))
    if exported:
        rewrite(**paths, converted_model=run.converted_model, config=SEARCH)
    return run


@pytest.fixture(scope="session")
def run_maker() -> Any:
    return make_run


@pytest.fixture(scope="session")
def untrained_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def untrained_string_run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), strings=True)


@pytest.fixture(scope="session")
def damage() -> Any:
    """The module ``damage.py``."""
    spec = importlib.util.spec_from_file_location("damage", Path(__file__).with_name("damage.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["damage"] = module  # where dataclasses look for it
    spec.loader.exec_module(module)
    return module

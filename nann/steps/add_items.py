"""Step `add-items`: items that the model has not met, into the catalogue, the graph and all exported forms of a model that is there.

The artifacts of a run are made anew around the trained weights: the dataset with a longer catalogue and the same records, the model with
rows of zeros, the embeddings and the index with the new vectors, and by `rewrite` the converted model. The model is not trained.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nann.add_items_config import AddItemsConfig
from nann.added_items import SEPARATOR, AddedItems, read_added_items
from nann.artifacts import MANIFEST_NAME, Artifact, ArtifactWriter, StepResult, open_artifact
from nann.config import ExtractConfig, RewriteConfig
from nann.contents import opening
from nann.dataset import Dataset
from nann.dataset.added import link_files
from nann.dataset.added import write_with_items as write_dataset
from nann.digests import sha256_files
from nann.errors import ArtifactError
from nann.index import decode_hnsw, describe_graph, insert_vectors, load_hnsw, save_graph, save_hnsw, vectors_of
from nann.manifests import read_manifest
from nann.models import ItemEncoder, config_of, load_model
from nann.option_types import stored_params
from nann.service.shelf import Shelf, directory_of
from nann.service.smoke import publish_tested
from nann.steps.opening import require_one_lineage
from nann.steps.rewrite import rewrite
from nann.steps.table import MAKER_OF
from nann.training.more_items import CHANGED
from nann.training.more_items import write_with_items as write_model

BASE = "base"
PARTS = ("dataset", "model", "index")
AS_THEY_ARE = ("data_check",)  # of the version with the items, too; an earlier version of this code published none
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class EarlierRun:
    """What items are added to.

    Attributes:
        artifacts: ``dataset``, ``model`` and ``index``, verified.
        search: options of `rewrite` it was exported with.
    """

    artifacts: Mapping[str, Artifact]
    search: RewriteConfig

    def path(self, name: str) -> Path:
        """The directory of an artifact."""
        return self.artifacts[name].path


@dataclass(frozen=True)
class _Publishing:
    """A version in service that is to be replaced by one with more items."""

    shelf: Shelf
    version: int

    @classmethod
    def of(cls, service: str) -> _Publishing:
        shelf = Shelf(service).require()
        pointer = shelf.pointer()
        if pointer is None:
            raise ArtifactError(f"nothing is in service in {shelf.store.root}; publish a first version with `nann publish`")
        if not shelf.store.names(f"{directory_of(pointer.version)}/index"):
            raise ArtifactError(
                f"version {pointer.version} in {shelf.store.root} has no index/, which new items are inserted into; it was published by an "
                "earlier version of this code, so publish one with `nann publish`, or add the items to its run with --base"
            )
        return cls(shelf, pointer.version)

    def taken(self, output_root: Path) -> Path:
        """The directory of the version: where it lies, or a copy of what is needed of one in an object store."""
        store = self.shelf.store
        if not store.remote:
            return Path(store.root) / directory_of(self.version)
        for part in (*PARTS, "converted_model", *AS_THEY_ARE):
            store.get_tree(f"{directory_of(self.version)}/{part}", output_root / BASE / part)
        return output_root / BASE

    def require_as_described(self, artifacts: Mapping[str, Artifact]) -> None:
        """Refuses a version that is not the one its ``version.json`` speaks of."""
        described = self.shelf.description(self.version)["artifacts"]
        for name, artifact in artifacts.items():
            if artifact.digest != described.get(name):
                raise ArtifactError(
                    f"{name} of version {self.version} in {self.shelf.store.root} is {artifact.digest[:12]}, but its version.json says "
                    f"{str(described.get(name))[:12]}; go back to a whole version with `nann rollback`"
                )

    def publish(self, artifacts: Mapping[str, Artifact], taken: Path, config: AddItemsConfig) -> int:
        """Puts a version in service, with what else that in ``taken`` has; returns its number."""
        pointer = self.shelf.pointer()
        if pointer is None or pointer.version != self.version:
            raise ArtifactError(
                f"items were added to version {self.version}, but {'none' if pointer is None else pointer.version} is in service in "
                f"{self.shelf.store.root} now; give the command again with --overwrite, which adds them to that one"
            )
        kept = {name: open_artifact(taken / name, step=MAKER_OF[name]) for name in AS_THEY_ARE if (taken / name).is_dir()}
        limits: dict[str, Any] = {"keep": config.keep, "users": config.smoke_users, "allow_own_models": config.allow_own_models}
        number = publish_tested(self.shelf, {**artifacts, **kept}, expected=self.version, **limits)
        logger.info("version %d is in service", number)
        return number


def add_items(
    *, items: Path, output_root: Path, config: AddItemsConfig, base: Path | None = None, service: str | None = None, overwrite: bool = False
) -> StepResult:
    """Adds items to the model of a run, or to the version in service, whose place a new version takes.

    Killed at any point, the same command again goes on with the artifacts that are there; what is in service changes at the end, at once.

    Args:
        items: file of the items, see `nann.added_items`.
        output_root: directory to write ``dataset``, ``model``, ``embeddings``, ``index`` and ``converted_model`` into.
        config: the options.
        base: directory of a run; or
        service: directory or URL of a service.
        overwrite: replace artifacts in ``output_root`` that were made of others.

    Returns:
        Where the converted model lies, ``items_added``, ``num_items``, and ``version``, with a service.

    Raises:
        ArtifactError: there is no such run or service, it lacks what items are added with, the file is unusable, or another version was put
            in service in the meantime.
    """
    began = time.monotonic()
    if base is not None and service is None:
        root, publishing = base, None
    elif base is None and service is not None:
        publishing = _Publishing.of(service)
        root = publishing.taken(output_root)
    else:
        raise ArtifactError("items are added to the model of one run or of one service; give either --base or --service")
    found = _base_of(root, config)
    if publishing is not None:
        publishing.require_as_described(found.artifacts)
    if base is not None and output_root.resolve() == base.resolve():
        raise ArtifactError(f"{output_root} holds what items are added to; give --output-root another path")
    data = Dataset(found.path("dataset"))
    separator = str(found.artifacts["dataset"].params.get("feature_separator", SEPARATOR))
    features = [name for name in config_of(found.path("model")).inputs if data.choose_inputs([name])[name]["side"] == "item"]
    added = read_added_items(items, data, read_by_model=features, separator=separator)
    written = _write_artifacts(output_root, items, added, found, config, overwrite=overwrite)
    metrics = {"items_added": len(added), "num_items": int(data.meta["num_items"]) + len(added)}
    if publishing is not None:
        metrics["version"] = publishing.publish(written, root, config)
    logger.info("%s items added to %s in %.1f s", f"{len(added):,}", f"{metrics['num_items']:,}", time.monotonic() - began)
    return StepResult(path=output_root / "converted_model", metrics=metrics)


def _base_of(root: Path, config: AddItemsConfig) -> EarlierRun:
    artifacts = {part: open_artifact(root / part, step=MAKER_OF[part]) for part in PARTS}
    converted = _unread(root / "converted_model", step="rewrite")  # its tables are not read
    require_one_lineage({**artifacts, "converted_model": converted})
    with opening(converted.path / MANIFEST_NAME, "a manifest with the options of a search", step="rewrite"):
        search = RewriteConfig(**converted.params, allow_own_models=config.allow_own_models)
    return EarlierRun(artifacts, search)


def _unread(path: Path, *, step: str) -> Artifact:
    """An artifact by its manifest; its files are not compared with it."""
    return Artifact(path, read_manifest(path, step=step), sha256_files([path / MANIFEST_NAME])[0])


def _write_artifacts(
    root: Path, items: Path, added: AddedItems, base: EarlierRun, config: AddItemsConfig, *, overwrite: bool
) -> dict[str, Artifact]:
    """Writes all artifacts, each unless it is there; those that a version has."""
    dataset = _write_dataset(root / "dataset", items, added, base, overwrite=overwrite)
    model = _write_model(root / "model", dataset, base, config, overwrite=overwrite)
    embeddings, index = _write_index(root, dataset, model, base, config, overwrite=overwrite)
    paths = {
        name: artifact.path for name, artifact in (("dataset", dataset), ("model", model), ("embeddings", embeddings), ("index", index))
    }
    rewrite(**paths, converted_model=root / "converted_model", config=base.search, overwrite=overwrite)
    converted = _unread(root / "converted_model", step="rewrite")
    return {"dataset": dataset, "model": model, "index": index, "converted_model": converted}


def _write_dataset(path: Path, items: Path, added: AddedItems, base: EarlierRun, *, overwrite: bool) -> Artifact:
    earlier = base.artifacts["dataset"]
    inputs: dict[str, Artifact | str] = {**_origins(earlier), "base_dataset": earlier, f"added:{items.name}": sha256_files([items])[0]}
    writer = ArtifactWriter(path, step="convert", params=earlier.params, inputs=inputs, overwrite=overwrite)
    if not writer.is_current:
        with writer as directory:
            write_dataset(Dataset(earlier.path), added, directory)
            _link_others(earlier, directory, writer)
            writer.metrics.update({**earlier.metrics, "num_items": earlier.metrics["num_items"] + len(added), "items_added": len(added)})
    return _unread(path, step="convert")


def _write_model(path: Path, dataset: Artifact, base: EarlierRun, config: AddItemsConfig, *, overwrite: bool) -> Artifact:
    earlier = base.artifacts["model"]
    inputs: dict[str, Artifact | str] = {"warm_start": earlier, **_origins(earlier), "dataset": dataset}
    writer = ArtifactWriter(path, step="train", params=earlier.params, inputs=inputs, overwrite=overwrite)
    if not writer.is_current:
        with writer as directory:
            write_model(earlier.path, Dataset(dataset.path), directory, allow_own=config.allow_own_models)
            _link_others(earlier, directory, writer, but=CHANGED)
            writer.metrics.update(earlier.metrics)
    return _unread(path, step="train")


def _write_index(
    root: Path, dataset: Artifact, model: Artifact, base: EarlierRun, config: AddItemsConfig, *, overwrite: bool
) -> tuple[Artifact, Artifact]:
    """The embeddings and the index: the vectors that are there, and those of the new items."""
    made_of = {"model": model, "dataset": dataset}
    params = stored_params(ExtractConfig.model_validate({}))
    extracted = ArtifactWriter(root / "embeddings", step="extract", params=params, inputs=made_of, overwrite=overwrite)
    earlier, items = base.artifacts["index"], Dataset(dataset.path).items()
    num_items = len(items.item_ids) - 1
    hnsw = load_hnsw(earlier.path / "hnsw.bin", more=num_items - int(earlier.metrics["num_items"]))
    first = hnsw.get_current_count()
    if not extracted.is_current:
        scorer = load_model(model.path, allow_own=config.allow_own_models)
        new = ItemEncoder(scorer, items.category_rows)(np.arange(first + 1, num_items + 1)).numpy()
        if not np.isfinite(new).all():
            raise ArtifactError(f"the vector of a new item is not finite; the model in {base.path('model')} is broken, train it again")
        with extracted as directory:
            np.save(directory / "item_ids.npy", np.arange(1, num_items + 1, dtype=np.int64))
            np.save(directory / "item_embs.npy", np.concatenate([vectors_of(hnsw), new]))
            extracted.metrics.update({"num_items": num_items, "item_dim": hnsw.dim})
    embeddings = _unread(root / "embeddings", step="extract")
    built = ArtifactWriter(
        root / "index", step="build-index", params=earlier.params, inputs={"embeddings": embeddings}, overwrite=overwrite
    )
    if not built.is_current:
        with built as directory:
            insert_vectors(hnsw, np.load(embeddings.path / "item_embs.npy", mmap_mode="r")[first:], threads=config.threads)
            graph = decode_hnsw(hnsw, start_level=int(earlier.params["start_level"]))
            save_hnsw(hnsw, directory / "hnsw.bin")
            save_graph(graph, directory)
            built.metrics.update(describe_graph(graph))
    return embeddings, _unread(root / "index", step="build-index")


def _origins(artifact: Artifact) -> dict[str, str]:
    """What else than artifacts it was made from: logs and files, sources of a class."""
    return {name: digest for name, digest in artifact.manifest["inputs"].items() if ":" in name}


def _link_others(earlier: Artifact, directory: Path, writer: ArtifactWriter, *, but: tuple[str, ...] = ()) -> None:
    """The files of the earlier artifact that were not written anew; their digests are known."""
    files = earlier.manifest["files"]
    names = [name for name in files if not (directory / name).exists() and not name.startswith(but or ("\0",))]
    link_files(earlier.path, names, directory)
    writer.digests.update({name: files[name]["sha256"] for name in names})

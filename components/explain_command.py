"""The commands `nann explain` and `nann show item`: why a model recommends an item, and what it knows about one."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click

from components.cli import values_by_name
from components.output import format_value, hidden_start_up_notes, set_up_logging

PATH = click.Path(path_type=Path)
Name = Callable[[int], str]


def _model_options(command: Callable[..., Any]) -> Callable[..., Any]:
    options = (
        click.option("--converted-model", type=PATH, metavar="DIR", help="Directory to read, made by `nann rewrite`."),
        click.option("--output-root", type=PATH, metavar="ROOT", help="Directory of all artifacts: each not named lies in ROOT/NAME."),
        click.option("--names", type=PATH, metavar="FILE", help="CSV file of id,title lines; titles are printed beside ids."),
        click.option("--allow-own-models", is_flag=True, help="Open graphs with ops that exports are not made of."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command("explain", help="Say why a model gives an item its score and its place for a history.")
@click.option("--item", required=True, metavar="ID", help="Catalogue id of the item.")
@click.option("--history", required=True, metavar="ID,ID,...", help="Catalogue ids of the history, oldest first.")
@click.option("--values", multiple=True, metavar="NAME=VALUE,...", help="What else the model reads, as for `nann infer`. Repeatable.")
@_model_options
def explain_command(
    *,
    item: str,
    history: str,
    values: tuple[str, ...],
    converted_model: Path | None,
    output_root: Path | None,
    names: Path | None,
    allow_own_models: bool,
    as_json: bool,
) -> None:
    """Prints the parts of the score, the pairs behind it, and the item's place in the exact scan and in the walk."""
    set_up_logging(verbose=False, quiet=True)
    ids = [part.strip() for part in history.split(",") if part.strip()]
    if not ids:
        raise click.UsageError("--history names no item; give at least one id.")
    path, more = _place("converted_model", converted_model, output_root), values_by_name(values)
    with hidden_start_up_notes():
        from nann.explanation import explain
        from nann.explanation.known_items import KnownItems

    items = KnownItems(path, allow_own_models=allow_own_models)
    found = explain(items, item, ids, values=more, allow_own_models=allow_own_models)
    if as_json:
        click.echo(json.dumps(_plain(dataclasses.asdict(found) | {"found": found.found}, lambda row: items.id_of(row))))
        return
    click.echo("\n".join(_reasons(found, _namer(items, names), len(ids))))


@click.group("show")
def show_group() -> None:
    """Print what a model knows."""


@show_group.command("item", help="Print an item's row, counts, category, neighbours in the index and pairs in the memory.")
@click.argument("item", metavar="ID")
@click.option("--dataset", type=PATH, metavar="DIR", help="Directory to read, made by `nann convert`.")
@click.option("--most", type=click.IntRange(min=1), default=10, show_default=True, help="Lines per list.")
@_model_options
def show_item(
    *,
    item: str,
    dataset: Path | None,
    most: int,
    converted_model: Path | None,
    output_root: Path | None,
    names: Path | None,
    allow_own_models: bool,
    as_json: bool,
) -> None:
    """Prints what the model knows about the item with this catalogue id."""
    set_up_logging(verbose=False, quiet=True)
    path, data = _place("converted_model", converted_model, output_root), _place("dataset", dataset, output_root)
    with hidden_start_up_notes():
        from nann.explanation import item_facts
        from nann.explanation.known_items import KnownItems

    items = KnownItems(path, allow_own_models=allow_own_models)
    found = item_facts(items, data, item, most=most)
    if as_json:
        click.echo(json.dumps(_plain(dataclasses.asdict(found), lambda row: items.id_of(row))))
        return
    click.echo("\n".join(_facts(found, _namer(items, names))))


def _place(name: str, given: Path | None, root: Path | None) -> Path:
    if given is not None:
        return given
    if root is None:
        raise click.UsageError(f"Missing option '--{name.replace('_', '-')}'; give it, or --output-root.")
    return root / name


def _namer(items: Any, names: Path | None) -> Name:
    """Row -> the id, with the title where there is one."""
    titles: dict[str, str] = {}
    if names is not None:
        from nann.titles import read_titles

        titles = read_titles(names)

    def name(row: int) -> str:
        item_id = str(items.id_of(row))
        return f"{item_id} {titles[item_id]}" if item_id in titles else item_id

    return name


def _reasons(found: Any, name: Name, length: int) -> Iterable[str]:
    parts = found.parts
    place = f"place {found.walk_rank} of {format_value(found.items_scored)} scored" if found.walk_rank else "not met"
    told = "in the answer" if found.found else f"not among the {found.top_k} of the answer"
    yield f"item {name(found.row)}, for a history of {length}"
    yield f"exact scan  place {format_value(found.exact_rank)} of {format_value(found.num_items)}"
    yield f"walk        {place}, {told}"
    yield f"score       {found.score:+.4f}"
    yield f"  scorer    {parts.scorer:+.4f}  logit {parts.logit:.4f} x {parts.scale:.4f}"
    yield f"  prior     {parts.prior:+.4f}  of the item, by its training events"
    yield f"  memory    {parts.memory:+.4f}  of pairs, {len(parts.evidence)} speak for it"
    yield f"  category  {parts.category:+.4f}"
    yield f"  own item  {parts.own:+.4f}"
    if abs(found.rest) > 1e-3 * max(1.0, abs(found.score)):
        yield f"  rest      {found.rest:+.4f}  that these parts do not explain"
    for pair in parts.evidence[:10]:
        source = f"the category of {name(pair.row)}" if pair.by_category else name(pair.row)
        yield f"    {pair.share:>6.1%} from {source}, {pair.age} newer: weight {pair.weight:.3f} x value {pair.value:.4g}"
    if found.nearest is not None:
        yield f"nearest of the history: {name(found.nearest.row)}, squared distance {found.nearest.distance:.4g}"


def _facts(found: Any, name: Name) -> Iterable[str]:
    yield f"item {name(found.row)}"
    yield f"row              {found.row}"
    yield f"training events  {format_value(found.train_count)}"
    yield f"share of events  {found.share:.3%}"
    yield f"category         {'none' if found.category_id is None else f'{found.category_id}, {found.items_in_category} items'}"
    if not found.in_index:
        yield "not in the index, so that it is never retrieved"
    for title, entries, figure in (
        ("neighbours in the index, squared distance", found.neighbors, "distance"),
        ("follow it in the memory, value", found.successors, "value"),
        ("it follows in the memory, value", found.predecessors, "value"),
    ):
        yield f"{title}:{'' if entries else ' none'}"
        for entry in entries:
            yield f"  {getattr(entry, figure):>10.4g}  {name(entry.row)}"


def _plain(content: Any, id_of: Callable[[int], Any]) -> Any:
    """The content with the catalogue id beside each row."""
    if isinstance(content, dict):
        found = {key: _plain(value, id_of) for key, value in content.items()}
        return {"item_id": id_of(content["row"]), **found} if "row" in content else found
    return [_plain(value, id_of) for value in content] if isinstance(content, list | tuple) else content

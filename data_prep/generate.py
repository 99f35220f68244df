"""A seeded generator of interaction logs with planted structure, in the UserBehavior layout.

What is planted, and what it should teach a model:

- Items lie in categories; the items of a category lie on a ring. Within a category popularity is Zipf over ranks, and the ranks move along
  the ring day by day (drift); with as many categories as there are, a list of the most popular items does poorly.
- A user is interested in a few categories, in each around one place of the ring. A share of the users changes one interest in the middle
  of the window: recent history tells more than old history.
- With probability `follow` an event's item is the previous one's near successor on its ring: order matters, and item-to-item
  neighbours can be learned. Otherwise the user turns to one of the interests, half of the times to a popular item of its category, half of
  the times to one near the user's own place, and now and then (`noise`) to any item at all.
- Events come in sessions; lengths of histories are geometric around their mean.
"""

from __future__ import annotations

import gzip
import io
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from data_prep.config import GenerateConfig
from data_prep.durable import replaced_file
from data_prep.errors import DataError

WINDOW_START = 1_511_539_200  # 2017-11-25 00:00 UTC+8
DAY_SECONDS = 86_400
COLUMNS = ("user_id", "item_id", "category_id", "behavior_type", "timestamp")
BEHAVIOURS = np.array(["pv", "fav", "cart", "buy"])
BEHAVIOUR_SHARES = (0.89, 0.03, 0.06, 0.02)
TASTE_WIDTH = 0.1  # standard deviation around the user's place, as a share of the ring
MEAN_STEP = 2.0  # mean distance of a successor, in items
RANK_DRIFT = 0.25  # share of the ring that the popularity ranks walk within the window
SESSION_EVENTS = 6.0
SESSION_GAP_SECONDS = 60.0
MIN_EVENTS = 2
SUFFIXES = (".csv", ".csv.gz", ".parquet")
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class GenerateReport:
    """What was written: path, and the numbers of events, users and items (with at least one event)."""

    path: Path
    num_events: int
    num_users: int
    num_items: int


@dataclass(frozen=True)
class _World:
    """The catalogue: item codes 0..N-1 are sorted by category; starts/sizes [C] give each category's range, which is its ring."""

    category_of_item: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    weights: np.ndarray


def _make_world(config: GenerateConfig, rng: np.random.Generator) -> _World:
    weights = rng.dirichlet(np.full(config.categories, 3.0))
    extra = rng.multinomial(config.items - config.categories, weights)
    sizes = 1 + extra
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return _World(np.repeat(np.arange(config.categories), sizes), starts, sizes, weights)


def _draw_lengths(config: GenerateConfig, rng: np.random.Generator) -> np.ndarray:
    mean_extra = config.events_per_user - MIN_EVENTS
    lengths = MIN_EVENTS + rng.geometric(1 / (1 + mean_extra), config.users) - 1
    return np.minimum(lengths, MIN_EVENTS + int(8 * mean_extra))


def _draw_times(lengths: np.ndarray, config: GenerateConfig, rng: np.random.Generator) -> np.ndarray:
    """[U, longest] int64 unix seconds, ascending along a user's first lengths[u] columns."""
    shape = (len(lengths), int(lengths.max()))
    window = config.days * DAY_SECONDS
    new_session = rng.random(shape) < 1 / SESSION_EVENTS
    scale = np.where(new_session, window / (1 + lengths / SESSION_EVENTS)[:, None], SESSION_GAP_SECONDS)
    offsets = np.cumsum(1 + np.floor(rng.exponential(1.0, shape) * scale), axis=1)
    last = np.take_along_axis(offsets, lengths[:, None] - 1, axis=1)
    begin = rng.uniform(0, 0.2, (len(lengths), 1)) * window
    fit = np.minimum(1.0, (window - 1 - begin) / last)
    times: np.ndarray = WINDOW_START + np.floor(begin + offsets * fit).astype(np.int64)
    return times


def _draw_items(world: _World, lengths: np.ndarray, times: np.ndarray, config: GenerateConfig, rng: np.random.Generator) -> np.ndarray:
    """[U, longest] int64 item codes; step by step, since an item depends on the one before, all users at a time."""
    num_users, longest = times.shape
    users = np.arange(num_users)
    interests = rng.choice(config.categories, (num_users, config.interests), p=world.weights)
    places = rng.random((num_users, config.interests))
    preference = np.cumsum(rng.dirichlet(np.full(config.interests, 2.0), num_users), axis=1)
    changes_at = np.where(rng.random(num_users) < config.drift, (lengths * rng.uniform(0.3, 0.7, num_users)).astype(np.int64), longest)
    ranks = np.arange(1, int(world.sizes.max()) + 1, dtype=float)
    cumulative = np.cumsum(ranks**-config.zipf)
    day = (times - WINDOW_START) / DAY_SECONDS
    items = np.zeros((num_users, longest), np.int64)
    for step in range(longest):
        changing = np.flatnonzero(changes_at == step)
        slot = rng.integers(config.interests, size=len(changing))
        interests[changing, slot] = rng.choice(config.categories, len(changing), p=world.weights)
        places[changing, slot] = rng.random(len(changing))

        chosen = np.minimum((rng.random((num_users, 1)) > preference).sum(axis=1), config.interests - 1)
        category = interests[users, chosen]
        size = world.sizes[category]
        rank = np.searchsorted(cumulative, rng.random(num_users) * cumulative[size - 1])
        popular = rank + np.floor(day[:, step] / config.days * RANK_DRIFT * size)
        near = np.floor((places[users, chosen] + rng.normal(0, TASTE_WIDTH, num_users)) * size)
        place = np.where(rng.random(num_users) < 0.5, popular, near).astype(np.int64)
        fresh = world.starts[category] + place % size
        fresh = np.where(rng.random(num_users) < config.noise, rng.integers(config.items, size=num_users), fresh)
        if step == 0:
            items[:, 0] = fresh
            continue
        previous = items[:, step - 1]
        ring = world.category_of_item[previous]
        distance = rng.geometric(1 / MEAN_STEP, num_users)
        successor = world.starts[ring] + (previous - world.starts[ring] + distance) % world.sizes[ring]
        items[:, step] = np.where(rng.random(num_users) < config.follow, successor, fresh)
    return items


def _ids(count: int, rng: np.random.Generator) -> np.ndarray:
    """[count] distinct positive ids without any order, with gaps, as real catalogues have them."""
    return rng.permutation(rng.choice(10 * count, count, replace=False)) + 1


def generate_table(config: GenerateConfig) -> pa.Table:
    """Draws a log.

    Args:
        config: sizes, structure and seed.

    Returns:
        Columns `user_id`, `item_id`, `category_id` int64, `behavior_type` string (pv, fav, cart, buy), `timestamp` int64 (unix seconds);
        user after user, each user's events oldest first.

    Raises:
        DataError: there are more categories than items.
    """
    if config.categories > config.items:
        raise DataError(
            f"categories {config.categories:,} are more than items {config.items:,}; an item has one category, so ask for fewer"
        )
    rng = np.random.default_rng(config.seed)
    world = _make_world(config, rng)
    lengths = _draw_lengths(config, rng)
    times = _draw_times(lengths, config, rng)
    items = _draw_items(world, lengths, times, config, rng)
    used = np.arange(times.shape[1]) < lengths[:, None]
    item_codes = items[used]
    user_ids, item_ids, category_ids = _ids(config.users, rng), _ids(config.items, rng), _ids(config.categories, rng)
    behaviours = rng.choice(len(BEHAVIOURS), len(item_codes), p=BEHAVIOUR_SHARES)
    columns = (
        pa.array(np.repeat(np.sort(user_ids), lengths)),
        pa.array(item_ids[item_codes]),
        pa.array(category_ids[world.category_of_item[item_codes]]),
        pa.array(BEHAVIOURS[behaviours]),
        pa.array(times[used]),
    )
    return pa.table(dict(zip(COLUMNS, columns, strict=True)))


def _write(table: pa.Table, file: IO[bytes], suffix: str) -> None:
    if suffix == ".parquet":
        pyarrow.parquet.write_table(table, file, compression="zstd")
        return
    buffer = io.BytesIO()
    pyarrow.csv.write_csv(table, buffer, pyarrow.csv.WriteOptions(include_header=False, quoting_style="none"))
    if suffix == ".csv":
        file.write(buffer.getbuffer())
    else:
        with gzip.GzipFile(filename="", mode="wb", fileobj=file, compresslevel=6, mtime=0) as packed:
            packed.write(buffer.getbuffer())


def generate_log(output: Path, config: GenerateConfig) -> GenerateReport:
    """Writes a generated log; equal configuration gives equal bytes.

    Args:
        output: `.csv` or `.csv.gz` without a header, or `.parquet`; replaced if it exists, and never there half-written.
        config: sizes, structure and seed.

    Raises:
        DataError: another suffix, or a directory that does not exist.
    """
    output = Path(output)
    suffix = next((known for known in SUFFIXES if output.name.endswith(known)), None)
    if suffix is None:
        raise DataError(f"{output}: a log is written as {', '.join(SUFFIXES)}; give a name that ends so")
    if not output.parent.is_dir():
        raise DataError(f"{output.parent} does not exist; make the directory first")
    if output.is_symlink() or (output.exists() and not output.is_file()):
        raise DataError(f"{output} is a link or no file, and is not replaced; give another path")
    table = generate_table(config)
    with replaced_file(output) as file:
        _write(table, file, suffix)
    num_items = len(table["item_id"].unique())
    logger.info("%s: %s events, %s users, %s items", output, f"{table.num_rows:,}", f"{config.users:,}", f"{num_items:,}")
    return GenerateReport(output, table.num_rows, config.users, num_items)

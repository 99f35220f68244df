"""The version that is served: loaded, warmed up, and exchanged when another one is in service."""

from __future__ import annotations

import gc
import logging
import threading
import time
from collections.abc import Callable

from nann.errors import NannError
from nann.serving.metrics import ServerMetrics
from nann.serving.opened import OpenedModel, warm_up
from nann.serving.places import ModelPlace

LONGEST_PAUSE = 300.0  # seconds between tries to load a version that failed
logger = logging.getLogger(__name__)


class VersionInService:
    """The model that requests are answered from.

    A thread looks which version is in service. Another one is loaded beside the one that is served, asked once, and put in its place;
    requests that are under way keep theirs. A version that does not load leaves the old one in its place, and is tried again after a while.

    Args:
        find: where the model lies now.
        load: opens it.
        metrics: counts.
        users: of the largest call, asked for once before a version is served.

    Attributes:
        model: the one that is served.
        failed: number of the version that could not be loaded, and why; None: there is none.

    Raises:
        NannError: the first version cannot be loaded.
    """

    def __init__(
        self, find: Callable[[], ModelPlace], load: Callable[[ModelPlace], OpenedModel], metrics: ServerMetrics, *, users: int = 1
    ) -> None:
        self._find, self._load, self._metrics, self._users = find, load, metrics, users
        self.failed: tuple[int, str] | None = None
        self._refused: ModelPlace | None = None
        self.model = self._opened(find())
        metrics.version.set(self.model.place.version)
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def watch(self, seconds: float) -> None:
        """Looks for another version so often, from now on."""
        self._thread = threading.Thread(target=self._watch, args=(seconds,), name="version in service", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stops looking."""
        self._end.set()

    def look(self) -> bool:
        """Serves the version that is in service; False where it could not be loaded, or its number not be read."""
        served, found = self.model.place.version, None
        try:
            place = found = self._find()
            if place == self.model.place:
                self.failed = self._refused = None
                return True
            if self.model.follow(place):
                logger.info("the tables %s of items are used", place.item_tables)
                self.failed = self._refused = None
                return True
            model = self._opened(place)
        except Exception as error:  # whatever is wrong with another version, this one goes on
            self._metrics.load_failures.inc()
            version = served if found is None else found.version
            self.failed, self._refused = (version, " ".join(str(error).split())), found
            what = f"version {version} is not served, version {served} stays"
            if found is not None and version == served and found.item_tables is not None:
                what = f"the tables {found.item_tables} of items are not used, version {served} stays as it is"
            logger.error("%s: %s", what, self.failed[1])
            return False
        version = place.version
        logger.info("version %d is served instead of %d, form %s", version, served, model.form)
        self.model, self.failed, self._refused = model, None, None
        self._metrics.version.set(version)
        self._metrics.switches.inc()
        gc.collect()  # a loaded model is full of circles; without this some 15 MB and its tables stay per switch for a long time
        return True

    def _opened(self, place: ModelPlace) -> OpenedModel:
        """A model that has answered, so that no request pays for tracing and allocation."""
        model = self._load(place)
        for users in sorted({1, self._users}):
            warm_up(model, users)
        return model

    def _watch(self, seconds: float) -> None:
        pause, again = seconds, 0.0
        while not self._end.wait(seconds):
            if time.monotonic() < again and not self._is_another():
                continue
            pause = seconds if self.look() else min(2 * pause, max(seconds, LONGEST_PAUSE))
            again = time.monotonic() + pause

    def _is_another(self) -> bool:
        """Whether something else is in service now than what was refused."""
        try:
            return self._find() != self._refused
        except NannError:
            return False

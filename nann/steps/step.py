"""What the table of steps says of a step, and of an option of its command."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from data_prep.cores import limit_thread_pools

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class Option:
    """An argument of a step function that is neither an artifact nor part of its config, and the option of the command that gives it.

    Attributes:
        argument: keyword of the step function.
        flag: as on the command line.
        metavar: what stands for its value in the help text.
        help: one sentence for people.
        kind: "path"; "text"; or "mapping", a YAML file whose contents are the argument.
        many: it is repeatable, and the argument a list.
        required: the command refuses to run without it; otherwise the argument is None then.
    """

    argument: str
    flag: str
    metavar: str
    help: str
    kind: Literal["path", "text", "mapping"] = "path"
    many: bool = False
    required: bool = False


@dataclass(frozen=True)
class Step:
    """One step.

    Attributes:
        name: as on the command line.
        help: one sentence for people.
        config: "module:Class" of its config, or "" when it takes none.
        reads: names of the artifacts it reads. One that was made from another one of them must be made from that very one.
        writes: name of the artifact it writes.
        options: its further arguments.
        runs: names of the steps it runs itself; it takes their configs as ``steps``, name -> config.
        resumable: a run that was killed goes on in what it left.
        dry_run: help of the option ``--dry-run``; "": there is none. Its module then has a function ``dry_run``, which returns a text.
        instead: an option with which its command calls another function of its module, STEP_ARGUMENT, for a text; None: none.
        class_option: option of its config that may name a class as MODULE:CLASS; the option of what it writes takes this, too. "": none.
        continues: pairs of an option, of its config or its own, and the artifact of the version in service that it gets in retraining,
            where the version has one.
        workers: several machines may share its work; the component for this is ``components/NAME_workers.py``.
        cached: its outcome depends on its inputs alone, so that kfp may take it from an earlier run.
        after: names of the steps a DAG runs before it although it reads nothing of them.
        figures: metrics that a line about it shows, those of them that it has; (): its first ones.
        table: "module:function" that makes header, rows and title of a table from the artifact's path, which the command prints; "": none.
    """

    name: str
    help: str
    config: str = ""
    reads: tuple[str, ...] = ()
    writes: str = ""
    options: tuple[Option, ...] = ()
    runs: tuple[str, ...] = ()
    resumable: bool = False
    dry_run: str = ""
    instead: Option | None = None
    class_option: str = ""
    continues: tuple[tuple[str, str], ...] = ()
    workers: bool = False
    cached: bool = True
    after: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()
    table: str = ""

    @property
    def module(self) -> str:
        """Name of its module in `nann.steps` and in `components`, and of the function in both."""
        return self.name.replace("-", "_")

    @property
    def config_parameter(self) -> str:
        """The parameter of a DAG that holds its options."""
        return f"{self.module}_config"

    def load_function(self, name: str = "") -> Callable[..., Any]:
        """Imports the step function (and with it, for most steps, TensorFlow, with threads for the cores it may use), or another function
        of its module."""
        limit_thread_pools()
        function: Callable[..., Any] = load_object(f"nann.steps.{self.module}:{name or self.module}")
        return function

    def load_config(self) -> type[BaseModel] | None:
        """Imports the pydantic model of its config; cheap."""
        return load_object(self.config) if self.config else None

    def takes(self, argument: str) -> bool:
        """Whether it has an option for this argument."""
        return any(option.argument == argument for option in self.options)


def load_object(reference: str) -> Any:
    """Imports "module:name"."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)

"""What `docs/architecture.md` promises about layers, imports and packaging."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from nann.steps.table import RETRAINING_STEPS, STEPS

ROOT = Path(__file__).parents[1]
PACKAGES = ("pipelines", "components", "nann", "data_prep", "ops")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
STANDARD = sys.stdlib_module_names

# Third-party modules a package may import; every package may also import those to its right in PACKAGES.
KNOWN = {
    "ops": {"numpy", "tensorflow"},
    "data_prep": {"numpy", "pyarrow", "pydantic"},
    "nann": {
        *("google", "hnswlib", "jinja2", "markupsafe", "matplotlib", "numpy", "pyarrow", "pydantic", "scipy", "tensorflow", "yaml"),
        *("prometheus_client", "starlette", "uvicorn"),  # nann/serving alone, with the extra `serve`
    },
    "components": {"annotated_types", "click", "kfp", "kubernetes", "pydantic", "pydantic_core", "rich", "urllib3", "yaml"},
    "pipelines": {"click", "docker", "kfp", "kubernetes", "kfp_server_api", "urllib3", "pydantic", "rich", "yaml"},
}
# file -> function; one that has several machines share the work stands in the DAG under the step's name
COMPONENTS = {
    **{step.module: step.module for step in RETRAINING_STEPS},
    **{f"{step.module}_workers": step.module for step in RETRAINING_STEPS if step.workers},
    "summarise": "summarise",
}


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Top-level names of all imports of a module, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield str(node.module).partition(".")[0]


def test_layers() -> None:
    program = Path(sys.executable).with_name("lint-imports")
    done = subprocess.run([program, "--no-cache"], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_what_it_may_know(package: str) -> None:
    allowed = KNOWN[package] | set(PACKAGES[PACKAGES.index(package) :])
    for path in modules(package):
        unknown = {name for name in imports(path) if name not in STANDARD} - allowed
        assert not unknown, f"{path.relative_to(ROOT)} imports {sorted(unknown)}"


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def import_graph() -> dict[str, set[str]]:
    """Module -> those of our modules that it imports: in functions too, and for type checkers."""
    trees = {module_name(path): ast.parse(path.read_text()) for package in PACKAGES for path in modules(package)}
    graph: dict[str, set[str]] = {name: set() for name in trees}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                graph[name] |= {alias.name for alias in node.names} & set(trees)
            elif isinstance(node, ast.ImportFrom):
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                graph[name] |= {part if part in trees else str(node.module) for part in whole} & set(trees)
    return graph


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """Sets of modules of which each imports each other, by way of others or not."""

    def reached(start: str) -> set[str]:
        found: set[str] = set()
        pending = set(graph[start])
        while pending:
            name = pending.pop()
            found.add(name)
            pending |= graph[name] - found
        return found

    after = {name: reached(name) for name in graph}
    return {frozenset(other for other in after[name] if name in after[other]) for name in graph if name in after[name]}


def test_circles_are_found() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == {frozenset("bc")}


def test_no_modules_import_each_other() -> None:
    assert [sorted(circle) for circle in circles(import_graph())] == []


TABLE = ROOT / "nann" / "steps" / "table.py"
# What `train` is not the step in: the name of a split, and a key of a model's config.json.
NOT_STEPS = re.compile(r"(split|num_samples|\['features'\]|description)$")


def texts(node: ast.expr | None) -> set[str]:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return {node.value}
    return {text for element in node.elts for text in texts(element)} if isinstance(node, ast.Tuple | ast.List | ast.Set) else set()


def branches_by_name(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Comparisons and matches with the name of a step, look-ups by one, and tables with several of them as keys."""
    for node in ast.walk(tree):
        named: set[str] = set()
        if isinstance(node, ast.Compare):
            sides = [node.left, *node.comparators]
            if not any(NOT_STEPS.search(ast.unparse(side)) for side in sides):
                named = {text for side in sides for text in texts(side)}
        elif isinstance(node, ast.Subscript) and not NOT_STEPS.search(ast.unparse(node.value)):
            named = texts(node.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in {"get", "pop", "setdefault"}:
            named = texts(node.args[0]) if node.args else set()
        elif isinstance(node, ast.MatchValue):
            named = texts(node.value)
        elif isinstance(node, ast.Dict):
            keys = {text for key in node.keys for text in texts(key)} & names
            named = keys if len(keys) > 1 else set()
        if named & names:
            yield f"line {node.lineno}: {ast.unparse(node)[:100]}"


@pytest.mark.parametrize(
    "source",
    [
        *("step.name == 'train'", "step not in ('gate', None)", "configs['build-index']", "known.get('sweep')"),
        *("{'convert': 1, 'train': 2}", "match step:\n    case 'publish': pass"),
    ],
)
def test_branches_by_the_name_of_a_step_are_found(source: str) -> None:
    assert list(branches_by_name(ast.parse(source), {step.name for step in STEPS}))


def test_only_the_table_tells_steps_apart() -> None:
    names = {step.name for step in STEPS}
    for path in (path for package in ("components", "pipelines", "nann") for path in modules(package) if path != TABLE):
        found = list(branches_by_name(ast.parse(path.read_text()), names))
        assert not found, f"{path.relative_to(ROOT)}: say it in nann/steps/table.py instead: {found}"


def test_no_module_is_called_utils() -> None:
    assert not [path for package in PACKAGES for path in modules(package) if path.stem in {"utils", "util", "helpers", "common"}]


def test_modules_are_small() -> None:
    sources = [path for package in PACKAGES for pattern in ("*.py", "*.cc", "*.h") for path in (ROOT / package).rglob(pattern)]
    lines = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources}
    assert {path: count for path, count in lines.items() if count > 350} == {}, "cut it where its meaning changes"


def test_functions_are_short() -> None:
    lines = {}
    for path in (path for package in PACKAGES for path in modules(package)):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines[f"{path.relative_to(ROOT)}:{node.name}"] = node.end_lineno - node.lineno + 1
    assert {name: count for name, count in lines.items() if count > 75} == {}, "cut it into parts that have names"


def test_a_name_of_a_class_means_one_thing() -> None:
    places: dict[str, list[str]] = {}
    for path in (path for package in PACKAGES for path in modules(package)):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places.setdefault(node.name, []).append(module_name(path))
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


@pytest.mark.parametrize("package", PACKAGES)
def test_tests_mirror_the_packages(package: str) -> None:
    assert list((ROOT / "tests" / package).rglob("test_*.py"))


def test_tests_are_no_packages() -> None:
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize(("file", "name"), COMPONENTS.items())
def test_components_heed_what_kfp_asks_of_their_source(file: str, name: str) -> None:
    tree = ast.parse((ROOT / "components" / f"{file}.py").read_text())
    froms = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
    assert not any(node.module == "__future__" for node in froms), "kfp reads annotations, not their text"
    [function] = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    assert function.name == name
    # The body is run elsewhere, without the module around it: it may use its arguments, what it imports itself, and nothing else.
    own = {argument.arg for argument in function.args.args}
    own |= {alias.name for node in ast.walk(function) if isinstance(node, ast.ImportFrom) for alias in node.names}
    used = {node.id for statement in function.body for node in ast.walk(statement) if isinstance(node, ast.Name)}
    assert used <= own | {"locals"}
    assert len(function.body) <= 3, "a docstring, an import and a call; the work belongs into the step"


@pytest.mark.parametrize("name", ["nann.config", "nann.artifacts", "data_prep.config", "components.cli", "pipelines.cli"])
def test_light_modules_import_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print(sorted({{'tensorflow', 'kfp', 'pyarrow', 'numpy', 'matplotlib'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_steps_that_compute_nothing_with_tensorflow_start_without_it() -> None:
    modules = [f"nann.steps.{name}" for name in ("build_index", "check_data", "compare", "convert", "generate", "report")]
    code = f"import sys, {', '.join(modules)}; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, "False\n"), done.stderr


def test_no_other_distribution_owns_our_package_names() -> None:
    owners = metadata.packages_distributions()
    for package in PACKAGES:
        assert set(owners.get(package, [])) <= {PROJECT["project"]["name"]}, package


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_are_imported_from_this_tree(package: str) -> None:
    assert Path(str(importlib.import_module(package).__file__)) == ROOT / package / "__init__.py"


def test_the_wheel_has_all_packages() -> None:
    assert set(PROJECT["tool"]["scikit-build"]["wheel"]["packages"]) == set(PACKAGES)


def locked(file: str = "requirements.lock") -> dict[str, str]:
    lines = [line for line in (ROOT / "containers" / file).read_text().splitlines() if line and not line.startswith("#")]
    entry = re.compile(r"([\w.-]+)==(\S+) --hash=sha256:[0-9a-f]{64}")
    assert all(entry.fullmatch(line) for line in lines), "the lock holds exact versions and their hashes only"
    return {name.lower().replace("_", "-"): version for name, version in (entry.fullmatch(line).groups() for line in lines)}


@pytest.mark.parametrize("extra", ["build", "core", "cpu", "pipeline", "serve", "dev"])
def test_the_lock_satisfies_the_project(extra: str) -> None:
    project = PROJECT["project"]
    wanted = {"build": PROJECT["build-system"]["requires"], "core": project["dependencies"], **project["optional-dependencies"]}[extra]
    versions = locked()
    for text in wanted:
        requirement = Requirement(text)
        name = requirement.name.lower().replace("_", "-")
        assert name in versions, f"{text} is not in the lock; run `make lock`"
        assert requirement.specifier.contains(versions[name]), f"{text} does not allow {versions[name]}; run `make lock`"


@pytest.mark.parametrize("flavour", ["cpu", "gpu"])
def test_the_images_lock_is_part_of_the_working_copys(flavour: str) -> None:
    everything, image = locked(), locked(f"{flavour}.lock")
    assert {name: version for name, version in image.items() if everything.get(name, version) != version} == {}
    for text in PROJECT["project"]["dependencies"]:
        assert Requirement(text).name in image, f"{text} is not in {flavour}.lock; run `make lock`"
    assert "kfp" in image
    assert not {"pytest", "ruff", "mypy"} & set(image)

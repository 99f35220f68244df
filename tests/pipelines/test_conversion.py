"""The spread-out conversion: the same bytes as the single step, through kfp's local runner."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from data_prep.config import ConvertConfig
from data_prep.planning import make_plan
from nann.errors import ArtifactError
from nann.steps.convert import convert
from nann.steps.convert_parts import convert_shard, merge_conversion, plan_conversion
from pipelines.cli import main

ROOT = Path(__file__).parents[2]
OPTIONS = {"shards": 3, "max_length": 20}


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_the_dag_gives_the_bytes_of_the_step(small_log: Path, tmp_path: Path) -> None:
    program = f"""
import tempfile
from pathlib import Path
from kfp import local
from pipelines.conversion import conversion
from pipelines.runner import _kfp_surroundings
with tempfile.TemporaryDirectory() as temporary, _kfp_surroundings(Path(temporary)):
    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root={str(tmp_path / "root")!r})
    task = conversion(inputs=[{str(small_log)!r}], convert_config={OPTIONS!r})
    Path({str(tmp_path / "path")!r}).write_text(task.output.path)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    convert(inputs=[small_log], dataset=tmp_path / "dataset", config=ConvertConfig(**OPTIONS))
    assert contents(Path((tmp_path / "path").read_text())) == contents(tmp_path / "dataset")


@pytest.mark.parametrize("layout", ["user", "sample"])
@pytest.mark.parametrize("options", [{}, {"duplicates": "drop", "partitions": 7}, {"compression": "gzip"}])
def test_the_pieces_give_the_bytes_of_the_step_in_any_order(layout: str, options: dict, small_log: Path, tmp_path: Path) -> None:
    config = ConvertConfig(**OPTIONS, layout=layout, **options)
    shards = plan_conversion(inputs=[small_log], plan=tmp_path / "plan", config=config)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "plan").iterdir()}
    parts = [tmp_path / f"part-{shard}" for shard in reversed(range(shards))]
    for shard, part in zip(reversed(range(shards)), parts, strict=True):
        convert_shard(plan=tmp_path / "plan", part=part, shard=shard, config=config)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "plan").iterdir()} == before
    for wrong in (parts[1:], [*parts, parts[0]]):
        with pytest.raises(ArtifactError, match="the plan has 3 shards"):
            merge_conversion(plan=tmp_path / "plan", parts=wrong, dataset=tmp_path / "merged", config=config)
    merge_conversion(plan=tmp_path / "plan", parts=parts, dataset=tmp_path / "merged", config=config)
    convert(inputs=[small_log], dataset=tmp_path / "dataset", config=config)
    assert contents(tmp_path / "merged") == contents(tmp_path / "dataset")
    make_plan([small_log], tmp_path / "plan", config)
    assert merge_conversion(plan=tmp_path / "plan", parts=parts, dataset=tmp_path / "merged", config=config).reused


def test_it_compiles_from_the_command_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(main, ["pipeline", "compile", "--dag", "conversion", "--output", str(tmp_path / "dag.yaml")])
    assert result.exit_code == 0, result.output
    document = yaml.safe_load((tmp_path / "dag.yaml").read_text())
    assert document["pipelineInfo"]["name"] == "nann-conversion"
    assert "parameterIterator" in (tmp_path / "dag.yaml").read_text()

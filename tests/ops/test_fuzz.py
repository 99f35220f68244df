"""The native parsers under clang's sanitizers: the kept inputs, and some seconds of new ones (`make fuzz SECONDS=N` for more)."""

import importlib.util
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

FUZZ = Path(__file__).parent / "fuzz"


def load() -> Any:
    spec = importlib.util.spec_from_file_location("fuzz", FUZZ / "fuzz.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


fuzz = load()


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    if not (fuzz.REPOSITORY / "ops" / "cc").is_dir():
        pytest.skip("a wheel is tested: the parsers' sources are not here")
    clang = fuzz.compiler()
    if clang is None:
        pytest.skip("the fuzzers need clang++ with libFuzzer; on Debian: apt-get install clang libclang-rt-14-dev")
    directory = tmp_path_factory.mktemp("fuzzers")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(fuzz.TARGETS, pool.map(lambda target: fuzz.build(clang, target, directory), fuzz.TARGETS), strict=True))


def found_by(ran: subprocess.CompletedProcess[str]) -> str:
    return ran.stderr[-3000:]


@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_kept_and_new_inputs(programs: dict[str, Path], tmp_path: Path, target: str) -> None:
    ran = fuzz.fuzz(programs[target], target, seconds=2, found=tmp_path)
    assert ran.returncode == 0, found_by(ran)


@pytest.mark.slow
@pytest.mark.parametrize("target", fuzz.TARGETS)
def test_a_minute_of_new_inputs(programs: dict[str, Path], tmp_path: Path, target: str) -> None:
    ran = fuzz.fuzz(programs[target], target, seconds=60, found=tmp_path)
    assert ran.returncode == 0, found_by(ran)


def test_a_fuzzer_finds_what_is_planted(tmp_path: Path) -> None:
    """A reader that runs over its block's end on a certain byte is found, so the build has its sanitizers."""
    clang = fuzz.compiler()
    if clang is None:
        pytest.skip("the fuzzers need clang++ with libFuzzer; on Debian: apt-get install clang libclang-rt-14-dev")
    source = tmp_path / "planted.cc"
    source.write_text("""
#include <cstdint>
#include <cstdlib>
#include <vector>
extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::vector<int> two(2);
  volatile int* const values = two.data();
  if (size > 1 && data[0] == 'x' && values[data[1] % 3] != 0) std::abort();
  return 0;
}
""")
    program = tmp_path / "planted"
    subprocess.run([clang, *fuzz.FLAGS, str(source), "-o", str(program)], check=True)
    ran = subprocess.run([str(program), "-max_total_time=20", f"-artifact_prefix={tmp_path}/"], capture_output=True, text=True, check=False)
    assert "heap-buffer-overflow" in ran.stderr


def test_every_target_has_its_inputs() -> None:
    assert sorted(path.stem for path in FUZZ.glob("*.cc")) == fuzz.TARGETS
    for target in fuzz.TARGETS:
        assert list((FUZZ / "corpus" / target).iterdir()), target

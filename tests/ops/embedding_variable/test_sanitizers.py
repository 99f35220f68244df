import os
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.mark.slow
@pytest.mark.parametrize("sanitizer", ["address,undefined", "thread"])
def test_the_key_index_is_clean_under_sanitizers(sanitizer, tmp_path):
    if shutil.which("g++") is None:
        pytest.skip("the sanitizers need g++")
    program = tmp_path / "driver"
    flags = ["-std=c++17", "-O1", "-g", f"-fsanitize={sanitizer}", "-fno-sanitize-recover=all", f"-I{REPOSITORY}", "-pthread"]
    driver = Path(__file__).with_name("cc") / "key_index_driver.cc"
    subprocess.run(["g++", *flags, str(driver), "-o", str(program)], check=True)
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    run = subprocess.run([str(program)], capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout == "ok\n"

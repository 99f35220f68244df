from pathlib import Path

from pipelines.run_log import RunLog

OUTPUT = """12:00:00 - INFO - Executing task 'train'
    Got executor_input: {
    12:00:01 INFO components.adapters: step train starts
    WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
    12:00:02 INFO nann: loss 0.5
      indented
    12:00:03 INFO components.adapters: step train done after 2.0 s
    Wrote executor output file.
"""


def shown(path: Path, pieces: list[str], *, everything: bool = False) -> list[str]:
    lines: list[str] = []
    with RunLog(path, show=lines.append, everything=everything) as log:
        for piece in pieces:
            print(piece, end="", file=log)
    assert path.read_text() == "".join(pieces)
    return lines


def test_people_see_the_steps_own_lines(tmp_path: Path) -> None:
    expected = [
        "12:00:01 INFO components.adapters: step train starts",
        "12:00:02 INFO nann: loss 0.5",
        "  indented",
        "12:00:03 INFO components.adapters: step train done after 2.0 s",
    ]
    assert shown(tmp_path / "log", [OUTPUT]) == expected
    assert shown(tmp_path / "log", list(OUTPUT)) == expected


def test_everything_on_demand(tmp_path: Path) -> None:
    assert len(shown(tmp_path / "log", [OUTPUT], everything=True)) == OUTPUT.count("\n")

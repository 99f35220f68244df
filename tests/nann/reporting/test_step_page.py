import json
from pathlib import Path

from nann.reporting.step_page import page_of

MANIFEST = {
    "schema_version": 1,
    "step": "extract",
    "code_version": "1.2",
    "code_digest": "ab" * 32,
    "params": {"batch_size": 8192, "name": "<x>"},
    "inputs": {"model": "cd" * 32},
    "lineage": {"model": "cd" * 32, "log:a.csv": "ef" * 32},
    "files": {"item_embs.npy": {"size_bytes": 2_000_000, "sha256": "01" * 32}},
    "metrics": {"num_items": 1234, "share": {"seen": 0.25}, "list": [1, 2]},
}


def test_a_step_without_a_page_of_its_own_shows_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text(json.dumps(MANIFEST))
    text = page_of(tmp_path).replace("<wbr>", "")
    for part in ("<h1>extract</h1>", "1,234", "share.seen", "0.25", "8,192", "&lt;x&gt;", "log:a.csv", "efefefefefef", "item_embs.npy"):
        assert part in text
    assert "<x>" not in text


def test_a_page_of_its_own_is_shown(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("<html>own</html>")
    assert page_of(tmp_path) == "<html>own</html>"

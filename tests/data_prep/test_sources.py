"""The files of a log: packed, in other encodings, in directories that stand for columns."""

import bz2
import gzip
import lzma
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from data_prep import DataError
from data_prep.sources import TextFile, expand_directories, partition_values

TEXT = "".join(f"{n},é{n * 7919}\n" for n in range(5000)).encode()


def pack(path: Path, content: bytes) -> Path:
    kind = path.suffix[1:]
    if kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("__MACOSX/._log.csv", b"junk")
            archive.writestr("dir/log.csv", content)
    elif kind == "zst":
        with pa.CompressedOutputStream(str(path), "zstd") as stream:
            stream.write(content)
    else:
        path.write_bytes({"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "csv": bytes}[kind](content))
    return path


KINDS = ["csv", "gz", "zst", "bz2", "xz", "zip"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [1, 1000, 1 << 20])
def test_text_is_unpacked_and_can_be_given_back(kind: str, size: int, tmp_path: Path) -> None:
    content = TEXT[:3000] if size == 1 else TEXT
    with TextFile(pack(tmp_path / f"log.{kind}", content)) as text:
        first = text.read(size)
        text.give_back(first[len(first) // 2 :])
        assert first[: len(first) // 2] + text.read_all() == content
        assert text.tell() > 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "latin-1", "gb18030"])
def test_text_of_other_encodings_becomes_utf_8(kind: str, encoding: str, tmp_path: Path) -> None:
    path = pack(tmp_path / f"log.{kind}", TEXT.decode().encode(encoding))
    with TextFile(path, encoding) as text:
        parts = [text.read(777), text.read(778)]
        text.give_back(parts.pop())
        assert b"".join(parts) + text.read_all() == TEXT


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_cut_file_is_an_os_error(kind: str, tmp_path: Path) -> None:
    path = pack(tmp_path / f"log.{kind}", TEXT)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(OSError):  # noqa: PT011, SIM117 (opening may fail already; every packer has words of its own)
        with TextFile(path) as text:
            text.read_all()


def test_an_archive_holds_one_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", b"1")
        archive.writestr("b.csv", b"2")
    with pytest.raises(DataError, match=r"must hold one file, but holds 2 \(a\.csv, b\.csv\); unpack it"):
        TextFile(tmp_path / "two.zip")


def test_directories_may_stand_for_columns() -> None:
    path = Path("logs/day=2017-11-25/kind=add%20to%20cart/country=__HIVE_DEFAULT_PARTITION__/part=0.parquet")
    assert partition_values(path) == {"day": "2017-11-25", "kind": "add to cart", "country": None}


def test_a_directory_holds_logs_of_any_kind(tmp_path: Path) -> None:
    names = ["a.CSV", "b.jsonl", "c.dat", "d.csv.zip", "part-00000", "sub/e.json.bz2"]
    for name in [*names, "_SUCCESS", ".part-0.crc", "readme.md", "sub/_temporary/f.csv"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"1")
    assert [str(path.relative_to(tmp_path)) for path in expand_directories([tmp_path])] == names

"""Readers of files against any bytes and any JSON: what they should be, or one line."""

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from data_prep.errors import DataError
from data_prep.meta import Meta
from data_prep.opening import opening, parse_json, shown
from nann import forms
from nann.artifacts import open_artifact
from nann.contents import load_array, parse_yaml, without_wildcards
from nann.dataset.record_batches import record_batches
from nann.errors import ArtifactError

FORMS = [
    forms.Manifest,
    forms.ModelDescription,
    forms.StoredPointer,
    forms.Version,
    forms.Verdict,
    forms.MemoryNumbers,
    forms.Metrics,
    Meta,
]
NUMBERS = st.one_of(st.integers(), st.floats(), st.integers(min_value=2**62))
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
    max_leaves=12,
)
ANY_PLACE = settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
GOOD = {
    "schema_version": 1,
    "step": "extract",
    "params": {},
    "code_version": "0",
    "code_digest": "0",
    "inputs": {},
    "lineage": {},
    "files": {"a.npy": {"size_bytes": 1, "sha256": hashlib.sha256(b"x").hexdigest()}},
    "metrics": {},
}


def message_of(read: Callable[[], Any]) -> str:
    """What a reader that refuses says, in one short line; "" where it reads."""
    try:
        read()
    except (DataError, ArtifactError) as error:
        message = str(error)
    else:
        return ""
    assert len(message.splitlines()) == 1
    assert len(message) < 1500
    return message


@pytest.mark.parametrize("form", FORMS)
@given(content=JSON)
@settings(max_examples=60)
def test_any_json_has_the_form_or_is_refused_in_one_line(form: Any, content: Any) -> None:
    message = message_of(lambda: parse_json(json.dumps(content), form, "a file", "a form", remedy="write it anew"))
    assert not message or message.startswith("a file is not a form (")


@given(content=st.binary(max_size=40))
def test_any_bytes_are_no_form(content: bytes) -> None:
    assert message_of(lambda: parse_json(content, forms.Manifest, "a file", "a manifest", remedy="write it anew"))


@pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a":' * 5000, b"1" + b"0" * 10_000, b"\xff", b'{"step": "\\ud800"}', b"NaN"])
def test_json_that_breaks_parsers(content: bytes) -> None:
    with pytest.raises(DataError, match="a file is not a manifest"):
        parse_json(content, forms.Manifest, "a file", "a manifest", remedy="write it anew")


@given(key=st.sampled_from(sorted(GOOD)), value=JSON)
@ANY_PLACE
def test_any_manifest_opens_an_artifact_or_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    (tmp_path / "a.npy").write_bytes(b"x")
    (tmp_path / "manifest.json").write_text(json.dumps(GOOD | {key: value}))
    if not message_of(lambda: open_artifact(tmp_path, step="extract")):
        assert open_artifact(tmp_path, step="extract").manifest["files"] == GOOD["files"]


@given(flips=st.lists(st.tuples(st.integers(0, 200), st.integers(1, 255)), max_size=4), length=st.integers(0, 210))
@ANY_PLACE
def test_any_npy_is_an_array_or_refused(tmp_path: Path, flips: list[tuple[int, int]], length: int) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.arange(9, dtype=np.int64))
    content = bytearray(buffer.getvalue()[:length])
    for place, bits in flips:
        if place < len(content):
            content[place] ^= bits
    path = tmp_path / "a.npy"
    path.write_bytes(content)
    if not message_of(lambda: load_array(path, step="extract")):
        assert load_array(path, step="extract").dtype != object


def test_an_npy_whose_head_is_no_python(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3))
    content = bytearray((tmp_path / "a.npy").read_bytes())
    content[59] ^= 123
    (tmp_path / "a.npy").write_bytes(content)
    with pytest.raises(ArtifactError, match=r"is not a \.npy file"):
        load_array(tmp_path / "a.npy", step="extract")


@given(place=st.integers(0, 300), bits=st.integers(1, 255), length=st.integers(0, 300))
@settings(ANY_PLACE, max_examples=25)
def test_any_tfrecord_file_is_records_or_refused(tmp_path: Path, place: int, bits: int, length: int) -> None:
    path = tmp_path / "test-00000-of-00001.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for number in range(4):
            feature = tf.train.Feature(int64_list=tf.train.Int64List(value=range(1, number + 2)))
            writer.write(tf.train.Example(features=tf.train.Features(feature={"item_ids": feature})).SerializeToString())
    content = bytearray(path.read_bytes()[:length])
    if place < len(content):
        content[place] ^= bits
    path.write_bytes(content)

    def read() -> set[int]:
        with opening(path, "a file of records", remedy="write it anew"):
            return {int(value) for batch in record_batches([path], {"item_ids": tf.int64}) for value in batch["item_ids"].values}

    assert message_of(read) or read() <= {1, 2, 3, 4}


@pytest.mark.parametrize(
    "text", ["[" * 900, "a: &a [*a]\n? *a\n: 1", "2024-99-99", "{[]: 1}", "a: !!python/object:os.system x", "\x00", "0b"]
)
def test_yaml_that_breaks_parsers(text: str) -> None:
    message = message_of(lambda: parse_yaml(text, "a file", "a config", remedy="mend it"))
    assert not message or message.startswith("a file is not a config (")


def test_what_is_shown_of_a_value_is_short() -> None:
    laughs: Any = ["ha"] * 9
    for _ in range(20):
        laughs = [laughs] * 9
    assert len(shown(laughs)) < 500


@pytest.mark.parametrize("name", ["plain", "a*b", "[x]", "what?", "back\\slash"])
def test_a_path_without_wildcards_leads_to_the_same_checkpoint(tmp_path: Path, name: str) -> None:
    directory = tmp_path / name
    directory.mkdir()
    tf.train.Checkpoint(a=tf.Variable(7)).write(str(directory / "weights"))
    with without_wildcards(directory / "weights") as plain:
        value = tf.Variable(0)
        tf.train.Checkpoint(a=value).read(str(plain)).assert_consumed()
    assert value.numpy() == 7


@pytest.mark.parametrize("error", [ZeroDivisionError(), OSError(28, "No space left on device", "x"), PermissionError(13, "no", "x")])
def test_what_is_no_damage_passes(error: Exception) -> None:
    with pytest.raises(type(error)), opening("x", "a file", remedy="-"):
        raise error

"""Warm-up requests of TensorFlow Serving: ``assets.extra/tf_serving_warmup_requests``, a TFRecord file of `PredictionLog` messages.

A server replays them before a version takes requests, so that no request pays for tracing, allocation or, in a compiled graph, XLA. The
messages are of `tensorflow_serving/apis/prediction_log.proto` and `predict.proto`, which TensorFlow itself does not have; the few fields
needed are written here by number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

WARMUP_FILE = Path("assets.extra") / "tf_serving_warmup_requests"
# PredictionLog.predict_log, PredictLog.request, PredictRequest.model_spec and .inputs, ModelSpec.name and .signature_name.
_PREDICT_LOG, _REQUEST, _MODEL_SPEC, _INPUTS, _MODEL_NAME, _SIGNATURE_NAME = 6, 1, 1, 2, 1, 3
_MAP_KEY, _MAP_VALUE = 1, 2
MAX_REQUESTS = 1000  # TensorFlow Serving reads no more


def write_warmup_requests(directory: Path, requests: Sequence[Mapping[str, np.ndarray]], *, model: str, signature: str) -> Path:
    """Writes the requests beside a SavedModel.

    Args:
        directory: the version's directory.
        requests: input name -> array, at most 1,000.
        model: name the server gives the model.
        signature: whose inputs they are.

    Returns:
        The file.

    Raises:
        ValueError: there are more than a server reads.
    """
    if len(requests) > MAX_REQUESTS:
        raise ValueError(f"a server replays at most {MAX_REQUESTS} requests, got {len(requests)}")
    path = directory / WARMUP_FILE
    path.parent.mkdir(exist_ok=True)
    spec = _field(_MODEL_NAME, model.encode()) + _field(_SIGNATURE_NAME, signature.encode())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for inputs in requests:
            request = _field(_MODEL_SPEC, spec)
            for name in sorted(inputs):
                tensor = tf.make_tensor_proto(inputs[name]).SerializeToString(deterministic=True)
                request += _field(_INPUTS, _field(_MAP_KEY, name.encode()) + _field(_MAP_VALUE, tensor))
            writer.write(_field(_PREDICT_LOG, _field(_REQUEST, request)))
    return path


def _field(number: int, content: bytes) -> bytes:
    """A length-delimited field."""
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)

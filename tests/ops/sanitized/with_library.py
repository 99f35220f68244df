"""A pytest plugin: `ops.native` loads the library that the environment names."""

import os

from ops import native

native.LIBRARY_NAME = os.environ["NANN_LIBRARY_OF_TESTS"]

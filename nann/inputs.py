"""Deprecated: this is `nann.dataset.inputs`."""

import warnings

from nann.dataset.inputs import *  # noqa: F403

warnings.warn("nann.inputs is deprecated; import from nann.dataset.inputs instead", DeprecationWarning, stacklevel=2)

"""Deprecated: this is `nann.dataset`."""

import warnings

from nann.dataset import *  # noqa: F403

warnings.warn("nann.samples is deprecated; import from nann.dataset instead", DeprecationWarning, stacklevel=2)

"""Errors an operator can act on. The command line prints them as one line and exits with 1.

Exception
└── NannError
    ├── ArtifactError    an artifact is missing, incomplete, of another schema, or made from other inputs
    ├── ModelError       a model class of the user's own cannot be imported or used
    └── TrainingError    training cannot go on (a loss that is not finite, a checkpoint that does not fit)

Mistakes of a caller in code (a wrong shape, an impossible argument) raise the built-in ValueError or TypeError instead;
`data_prep.DataError` is its package's own.
"""


class NannError(Exception):
    """Base of the errors this package raises for an operator."""


class ArtifactError(NannError):
    """An artifact cannot be read, written or used together with another one."""


class ModelError(NannError):
    """A model class cannot be imported or used."""


class TrainingError(NannError):
    """Training cannot go on."""

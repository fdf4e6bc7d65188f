"""Exceptions that vidscale raises for causes outside the program.

    VidscaleError
    ├── ConfigError      a setting, or a combination of settings and material, that cannot work
    │   └── UsageError   a setting that is wrong whatever the material
    ├── DecodeError      a source that cannot be read, or not in full
    ├── EncodeError      ffmpeg or an encoder failed; carries the command and the end of its log
    ├── IdentityError    a small file whose identity is missing or contradictory
    │   └── UnusableIdentityError    there is one, and it cannot be used: of a newer schema, or of other pictures
    │       └── DamagedIdentityError    it cannot be read
    ├── ModelError       a pair or its weights that are missing or damaged
    ├── MeasureError     two videos that cannot be compared
    └── TrainingError    a training that cannot go on

A wrong argument to a function is a ``ValueError``: that is a mistake in the calling program.
Every message is one line, fit to be shown to a person as it is.
"""

from collections.abc import Sequence


class VidscaleError(Exception):
    """Base of all errors with a cause outside the program."""


class ConfigError(VidscaleError):
    """A setting, or a combination of settings and material, that cannot work."""


class UsageError(ConfigError):
    """A setting that is wrong whatever the material."""


class DecodeError(VidscaleError):
    """A source that cannot be read, or not in full."""


class IdentityError(VidscaleError):
    """The identity of a small file is missing or contradictory."""


class UnusableIdentityError(IdentityError):
    """An identity that does not say how these pictures are restored: of a newer schema, of other pictures."""


class DamagedIdentityError(UnusableIdentityError):
    """An identity that cannot be read; another one of the same file may."""


class ModelError(VidscaleError):
    """A pair or its weights are missing or damaged."""


class MeasureError(VidscaleError):
    """Two videos that cannot be compared."""


class TrainingError(VidscaleError):
    """A training that cannot go on: its material, its folder, or numbers that are not finite any more."""


class EncodeError(VidscaleError):
    """ffmpeg or the encoder inside it failed.

    Attributes:
        cmd: the command line as a list, empty when no process was started.
        returncode: exit status of the process, None when it never ran or did not end by itself.
        stderr_tail: the last lines that the process wrote to stderr.
    """

    def __init__(
        self,
        message: str,
        *,
        cmd: Sequence[str] = (),
        returncode: int | None = None,
        stderr_tail: Sequence[str] = (),
    ) -> None:
        super().__init__(message)
        self.cmd = list(cmd)
        self.returncode = returncode
        self.stderr_tail = list(stderr_tail)

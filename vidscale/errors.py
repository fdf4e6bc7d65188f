"""Exceptions that vidscale raises for causes outside the program.

    VidscaleError
    ├── ConfigError      a setting, or a combination of settings and material, that cannot work
    │   └── UsageError   a setting that is wrong for any material
    ├── DecodeError      a source that cannot be read, or not completely
    ├── EncodeError      ffmpeg or an encoder failed; carries the command and the end of its log
    ├── IdentityError    a small file whose identity is missing or contradictory
    │   └── UnusableIdentityError    an identity of a newer schema, or of other pictures
    │       └── DamagedIdentityError    an identity that cannot be read
    ├── ModelError       a pair or its weights that are missing or damaged
    ├── MeasureError     two videos that cannot be compared
    └── TrainingError    a training that cannot continue

A wrong argument to a function is a ``ValueError``: a bug in the calling program.
Every message is one line that can be shown to the user unchanged.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any


class VidscaleError(Exception):
    """Base of all errors with a cause outside the program."""


class ConfigError(VidscaleError):
    """A setting, or a combination of settings and material, that cannot work."""


class UsageError(ConfigError):
    """A setting that is wrong for any material."""


class DecodeError(VidscaleError):
    """A source that cannot be read, or not completely."""


class IdentityError(VidscaleError):
    """The identity of a small file is missing or contradictory."""


class UnusableIdentityError(IdentityError):
    """An identity that cannot be used to restore these pictures: of a newer schema, or of other pictures."""


class DamagedIdentityError(UnusableIdentityError):
    """An identity that cannot be read; another one in the same file may be valid."""


class ModelError(VidscaleError):
    """A pair or its weights are missing or damaged."""


class MeasureError(VidscaleError):
    """Two videos that cannot be compared."""


class TrainingError(VidscaleError):
    """A training that cannot continue: its material, its folder, or non-finite values."""


class EncodeError(VidscaleError):
    """ffmpeg or the encoder inside it failed.

    Attributes:
        cmd: the command line as a list, empty when no process was started.
        returncode: exit status of the process, None when it never ran or was stopped.
        stderr_tail: the last lines of its stderr.
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


_SHOWN = 60  # characters of a value

_PLAIN: dict[str, str] = {
    "greater_than_equal": "below {ge}",
    "greater_than": "not above {gt}",
    "less_than_equal": "above {le}",
    "less_than": "not below {lt}",
    "finite_number": "not finite",
    "string_pattern_mismatch": "not of the right form",
    "literal_error": "not {expected}",
    "too_short": "too short",
    "string_too_short": "too short",
}
_KINDS: dict[str, str] = {  # what the types of errors about types begin with
    "int": "a whole number",
    "float": "a number",
    "decimal": "a number",
    "string": "text",
    "bool": "true or false",
    "path": "a path",
    "list": "a list",
    "tuple": "a list",
    "dict": "a table",
    "model": "a table",
    "dataclass": "a table",
}


def plain_reason(detail: Mapping[str, Any]) -> str:
    """What is wrong with a value, in words for people.

    Args:
        detail: one of those that pydantic's ``ValidationError.errors()`` lists.

    Returns:
        Such as ``width = 0: below 1``; the message itself where one of our own checks wrote it.
    """
    kind, name = str(detail["type"]), ".".join(map(str, detail["loc"]))
    if kind == "value_error":
        return str(detail["msg"]).removeprefix("Value error, ")
    if kind in ("missing", "missing_argument"):
        return f"{name} is missing"
    if kind in ("extra_forbidden", "unexpected_keyword_argument"):
        return f"{name} is unknown"
    words = _PLAIN.get(kind, "").format_map(detail.get("ctx", {}))
    if not words:
        words = f"not {_KINDS.get(kind.split('_')[0], 'valid')}"
    value = detail["input"]
    shown = str(value) if isinstance(value, Fraction) else ascii(value)
    shown = shown if len(shown) <= _SHOWN else f"{shown[: _SHOWN - 1]}…"
    return f"{name} = {shown}: {words}" if name else f"{shown}: {words}"


def reason_of(error: BaseException) -> str:
    """The reason of an error of the system or of ffmpeg, without its number and file: ``Permission denied``."""
    return str(getattr(error, "strerror", None) or error)

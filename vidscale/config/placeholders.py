"""Placeholders in the command lines of recipes."""

import re
from typing import Annotated

from pydantic import AfterValidator

PLACEHOLDERS = ("input", "output", "ffmpeg")

_NAMED = re.compile(r"(?<![$%{])\{([A-Za-z]\w*)\}")  # not ${shell}, %{format} or {{template}}


def _check_placeholders(command: tuple[str, ...]) -> tuple[str, ...]:
    unknown = [name for word in command for name in _NAMED.findall(word) if name not in PLACEHOLDERS]
    if unknown:
        known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
        raise ValueError(f"unknown placeholder {{{unknown[0]}}}; known are {known}")
    return command


def _check_plain(name: str) -> str:
    if _NAMED.search(name):
        raise ValueError(f"{name}: placeholders are filled in only in command lines")
    return name


CommandLine = Annotated[tuple[str, ...], AfterValidator(_check_placeholders)]
"""The words of a command line, with the placeholders in braces."""

PlainName = Annotated[str, AfterValidator(_check_plain)]
"""The name of a file or folder, without placeholders."""

"""File names that are not text in the locale, without losing a byte of them.

Python holds such bytes as lone surrogates (PEP 383): a name that is not UTF-8, or any that is not ASCII in the C locale
without UTF-8 mode. What a person reads shows them as UTF-8; programs that are started get the bytes.
"""

import codecs
import os
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence

READABLE = "vidscale-readable"  # name of the error handler, for streams and files
_ESCAPED = re.compile("[\udc80-\udcff]+")


def readable(text: str) -> str:
    """Text whose escaped bytes are shown as UTF-8, as U+FFFD where they are not."""
    return _ESCAPED.sub(lambda match: match[0].encode("ascii", "surrogateescape").decode("utf-8", "replace"), text)


def name_from_text(text: str) -> str:
    """A file name as the locale writes it, from one that was read from a UTF-8 file such as a recipe."""
    return os.fsdecode(text.encode("utf-8", "surrogateescape"))


def numbered(names: Iterable[str]) -> list[str]:
    """Names for people, each once: a repeated one gets a number: ``film``, ``film (2)``."""
    found: dict[str, None] = {}
    used: Counter[str] = Counter()
    for name in names:
        shown = name
        while shown in found:
            used[name] += 1
            shown = f"{name} ({used[name] + 1})"
        found[shown] = None
    return list(found)


def command_bytes(command: Sequence[str]) -> Sequence[str | bytes]:
    """A command line as the system takes it: names with the bytes that they have, other text in UTF-8."""
    if sys.platform == "win32":
        return command
    return [_word_bytes(word) for word in command]


def _word_bytes(word: str) -> bytes:
    try:
        return os.fsencode(word)
    except UnicodeEncodeError:  # text, such as a title, beyond the characters of the locale
        return word.encode("utf-8", "surrogateescape")


def _handle(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = readable(error.object[error.start : error.end])
    return text.encode(error.encoding, "replace"), error.end


codecs.register_error(READABLE, _handle)


def show_any_name() -> None:
    """Makes standard output and error take all text; in the C locale it is written in UTF-8, like file names."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:  # None where it is closed
            ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            reconfigure(encoding="utf-8" if ascii_only else None, errors=READABLE)

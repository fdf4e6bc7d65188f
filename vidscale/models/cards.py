"""Cards: what is known of a pair, and which pairs there are. Nothing here opens weights or imports torch."""

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path

from vidscale.errors import ModelError
from vidscale.media.geometry import parse_scale
from vidscale.system.workspace import cache_folder

CARD = "card.json"
FORMAT = 1
UNKNOWN = "unknown"

Sizes = dict[str, str | int | float]

_NAME, _HASH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"), re.compile(r"[0-9a-f]{64}")  # as identities have them
_JSON_TYPES = {"downscaler": dict, "upscaler": dict, "parameters": int}  # all else is text
_SHIPPED = Path(__file__).parent / "weights"


def check_name(name: str) -> None:
    """ModelError for what cannot be a pair's name."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"{name!r} is no name for a pair: letters, digits and . _ + - only, 64 at most")


@dataclass(frozen=True, kw_only=True)
class PairCard:
    """What is known of a pair.

    Attributes:
        name: family and scale, such as "car-x2".
        scale: source sample spacing per small sample, 1 to 8.
        sha256: content hash of the weights, lower-case hex.
        downscaler, upscaler: ``network``, which says what it is, and its sizes.
        parameters: how many numbers the networks have, frozen ones included.
        licence: of the weights, in the words of whoever brought them.
        data: what they were trained on.
        training: the command that trained them.
        source: where they come from.

    Raises:
        ModelError: a name or a hash that no pair has.
    """

    name: str
    scale: Fraction
    sha256: str
    downscaler: Sizes
    upscaler: Sizes
    parameters: int
    licence: str = UNKNOWN
    data: str = UNKNOWN
    training: str = UNKNOWN
    source: str = UNKNOWN

    def __post_init__(self) -> None:
        check_name(self.name)
        if not _HASH.fullmatch(self.sha256):  # it names a folder
            raise ModelError(f"{self.sha256!r} is no SHA-256")

    def to_json(self) -> str:
        """The text of ``card.json``."""
        record = {"vidscale_pair": FORMAT} | asdict(self) | {"scale": str(self.scale)}
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "PairCard":
        """The card that `to_json` wrote; fields that are not known are left out.

        Raises:
            ModelError: not a card, or one of a later format.
        """
        try:
            record = json.loads(text)
            if record["vidscale_pair"] != FORMAT:
                raise ModelError(f"a card of format {record['vidscale_pair']}; this program reads {FORMAT}")
            known = {field.name: record[field.name] for field in fields(cls) if field.name in record}
            wrong = [name for name, value in known.items() if not _is_right(name, value)]
            if wrong:
                raise ModelError(f"a broken card: {wrong[0]} is {known[wrong[0]]!r}")
            return cls(**known | {"scale": parse_scale(known["scale"])})
        except (ValueError, TypeError, LookupError) as error:
            raise ModelError("a broken card") from error


def _is_right(name: str, value: object) -> bool:
    """Whether a field of a card is of its type; sizes are words and numbers."""
    plain = not isinstance(value, dict) or all(isinstance(size, str | int | float) for size in value.values())
    return plain and isinstance(value, _JSON_TYPES.get(name, str))


def read_card(folder: Path) -> PairCard:
    """The card of a pair, without its weights.

    Raises:
        ModelError: no pair there, or a broken card.
    """
    path = folder / CARD
    try:
        return PairCard.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"{folder} holds no pair: {CARD}: {error.strerror}") from error
    except (ModelError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error


def user_folder() -> Path:
    """Where pairs of this user lie, a folder each: ``vidscale/pairs`` in the XDG data folder; in what may be lost where
    there is no home.
    """
    try:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "vidscale"
    except RuntimeError:
        data = cache_folder() / "data"
    return data / "pairs"


def cached(sha256: str) -> Path:
    """Where a copy of the pair with these weights may lie."""
    return cache_folder() / "pairs" / sha256


def installed() -> dict[str, Path]:
    """Folders of the pairs that are there, by name, which is the folder's; the user's go before shipped ones."""
    return {folder.name: folder for folder in _folders()}


def _folders() -> list[Path]:
    """Of all pairs that are there, the user's last."""
    return [card.parent for root in (_SHIPPED, user_folder()) for card in sorted(root.glob(f"*/{CARD}"))]


def with_hash(name: str, sha256: str) -> Path | None:
    """The folder of a pair with these weights: installed, also where the user has another of that name, or cached."""
    for folder in (*_folders(), cached(sha256)):
        try:
            card = read_card(folder)
        except ModelError:
            continue
        if (card.name, card.sha256) == (name, sha256):
            return folder
    return None


def find_pair_dir(name: str) -> Path:
    """The folder of a pair.

    Args:
        name: of an installed pair, or a path to a pair's folder.

    Raises:
        ModelError: no such pair.
    """
    there = installed()
    if name in there:
        return there[name]
    if (Path(name) / CARD).is_file():
        return Path(name)
    raise ModelError(f"there is no pair {name!r}; there are {', '.join(there) or 'none'} installed")

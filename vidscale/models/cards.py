"""Pair cards (metadata), and the installed pairs. Does not open weights or import torch."""

import json
import os
import re
from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from pathlib import Path

from vidscale.errors import ModelError, reason_of
from vidscale.media.geometry import parse_scale
from vidscale.system.workspace import cache_folder

CARD = "card.json"
FORMAT = 1
UNKNOWN = "unknown"
BACK_PROJECTION = "back-projection"  # kind of downscaler: a filter and a network that corrects its luma
ERROR_FED = "error-fed"  # the same for pictures in RGB

Sizes = dict[str, str | int | float]

_NAME, _HASH = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}"), re.compile(r"[0-9a-f]{64}")  # same as in identities
_JSON_TYPES = {
    "downscaler": dict,
    "upscaler": dict,
    "quick_downscaler": dict,
    "parameters": int,
}  # other fields are strings
_SHIPPED = Path(__file__).parent / "weights"


def check_name(name: str) -> None:
    """Raises ModelError for an invalid pair name."""
    if not _NAME.fullmatch(name):
        raise ModelError(f"invalid pair name {name!r}: use at most 64 letters, digits and . _ + -")


@dataclass(frozen=True, kw_only=True)
class PairCard:
    """Metadata of a pair.

    Attributes:
        name: family and scale, such as "car-x2".
        scale: source samples per small sample, 1 to 8.
        sha256: content hash of the weights, lower-case hex.
        downscaler, upscaler: ``network``, the kind of network, and its sizes.
        quick_downscaler: of a second, smaller downscaler, for the effort "normal"; None if there is only one.
        parameters: number of parameters, including frozen ones.
        licence: licence of the weights, as given by their provider.
        data: training data.
        training: training command.
        source: origin of the weights.

    Raises:
        ModelError: invalid name or hash.
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
    quick_downscaler: Sizes | None = None

    def __post_init__(self) -> None:
        check_name(self.name)
        if not _HASH.fullmatch(self.sha256):  # used as a folder name
            raise ModelError(f"invalid SHA-256 {self.sha256!r}")

    def to_json(self) -> str:
        """Content of ``card.json``."""
        known = {name: value for name, value in asdict(self).items() if value is not None}
        record = {"vidscale_pair": FORMAT} | known | {"scale": str(self.scale)}
        return json.dumps(record, indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "PairCard":
        """Parses a card; unknown fields are ignored.

        Raises:
            ModelError: not a card, or an unsupported format.
        """
        try:
            record = json.loads(text)
            if record["vidscale_pair"] != FORMAT:
                raise ModelError(f"card format {record['vidscale_pair']}, this vidscale reads {FORMAT}")
            known = {field.name: record[field.name] for field in fields(cls) if field.name in record}
            wrong = [name for name, value in known.items() if not _is_right(name, value)]
            if wrong:
                raise ModelError(f"broken card: {wrong[0]} is {known[wrong[0]]!r}")
            return cls(**known | {"scale": parse_scale(known["scale"])})
        except (ValueError, TypeError, LookupError) as error:
            raise ModelError("broken card") from error


def _is_right(name: str, value: object) -> bool:
    """Whether a field has the right type; sizes are strings and numbers."""
    plain = not isinstance(value, dict) or all(isinstance(size, str | int | float) for size in value.values())
    return plain and isinstance(value, _JSON_TYPES.get(name, str))


def read_card(folder: Path) -> PairCard:
    """Reads the card of a pair, without its weights.

    Raises:
        ModelError: no pair in the folder, or a broken card.
    """
    path = folder / CARD
    try:
        return PairCard.from_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelError(f"no pair in {folder}: {CARD}: {reason_of(error)}") from error
    except (ModelError, UnicodeDecodeError) as error:
        raise ModelError(f"{path}: {error}") from error


def user_folder() -> Path:
    """Folder of the user's pairs: ``vidscale/pairs`` in the XDG data folder, or in the cache if there is no home."""
    try:
        data = Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "vidscale"
    except RuntimeError:
        data = cache_folder() / "data"
    return data / "pairs"


def cached(sha256: str) -> Path:
    """Path of the cached copy of a pair."""
    return cache_folder() / "pairs" / sha256


def installed() -> dict[str, Path]:
    """Folders of the installed pairs, by folder name; the user's override shipped ones."""
    return {folder.name: folder for folder in _folders()}


def _folders() -> list[Path]:
    """Folders of all installed pairs, the user's last."""
    return [card.parent for root in (_SHIPPED, user_folder()) for card in sorted(root.glob(f"*/{CARD}"))]


def with_hash(name: str, sha256: str) -> Path | None:
    """The folder of an installed or cached pair with these weights, even if the user has another of that name."""
    for folder in (*_folders(), cached(sha256)):
        try:
            card = read_card(folder)
        except ModelError:
            continue
        if (card.name, card.sha256) == (name, sha256):
            return folder
    return None


def find_pair_dir(name: str) -> Path:
    """Finds the folder of a pair.

    Args:
        name: installed pair, or the path of a pair's folder.

    Raises:
        ModelError: unknown pair.
    """
    there = installed()
    if name in there:
        return there[name]
    if (Path(name) / CARD).is_file():
        return Path(name)
    raise ModelError(f"unknown pair {name!r}; installed are {', '.join(there) or 'none'}")

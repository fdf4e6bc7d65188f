"""What happened while a source was read, as it is counted and told."""

from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

from vidscale.errors import DecodeError


@dataclass(slots=True)
class ReadLog:
    """What happened while a source was read.

    Attributes:
        frames: pictures handed out.
        unreadable: packets that did not decode, and pictures the container promises that never came.
        concealed: pictures handed out in which the decoder concealed damage.
        damaged_identities: keyframes that do not say how they were made, though another one of the file does.
        timestamps_made: pictures that had no timestamp and got one from the frame rate.
        timestamps_mended: pictures whose timestamp repeats, goes back or tells when to decode, and was put in order.
        joints: how often time jumps; what comes behind was moved to follow what comes before.
        late_streams: there are streams that the source does not begin with; they were not read.
        origin_s: time in the source of the output's zero; not 0 with a range, and where a source starts before 0.
        truncated_at_s: where reading broke off before the end that the container announces.
        side_data: what pictures carry that raw pictures lose, in words, and the time in the source of the first, s.
    """

    frames: int = 0
    unreadable: int = 0
    concealed: int = 0
    damaged_identities: int = 0
    timestamps_made: int = 0
    timestamps_mended: int = 0
    joints: int = 0
    late_streams: bool = False
    origin_s: Fraction = Fraction(0)
    truncated_at_s: Fraction | None = None
    side_data: dict[str, Fraction] = field(default_factory=dict)

    @property
    def damaged(self) -> bool:
        """Whether the source could not be read in full."""
        return bool(self.unreadable or self.concealed or self.truncated_at_s is not None)

    def notes(self, path: Path) -> tuple[str, ...]:
        """What a person should know of it, one line each."""
        name, lines = path.name, []
        if self.unreadable:
            lines.append(f"{_frames(self.unreadable)} of {name} {'was' if self.unreadable == 1 else 'were'} unreadable")
        if self.truncated_at_s is not None:
            lines.append(f"{name} breaks off at {float(self.truncated_at_s):.2f} s: what is there was read")
        if self.concealed:
            verb = "is" if self.concealed == 1 else "are"
            lines.append(f"{_frames(self.concealed)} of {name} {verb} damaged, mended as well as the decoder could")
        if self.damaged_identities:
            what = (
                "identity of 1 keyframe"
                if self.damaged_identities == 1
                else f"identities of {self.damaged_identities} keyframes"
            )
            lines.append(f"the {what} of {name} cannot be read; what else it says of itself can, and was followed")
        if self.origin_s < 0:
            lines.append(f"{name} starts at {float(self.origin_s):.3f} s: all streams were moved to start at 0")
        if self.timestamps_made:
            lines.append(f"{_frames(self.timestamps_made)} of {name} had no timestamp and got one from the frame rate")
        if self.timestamps_mended:
            lines.append(
                f"the timestamps of {_frames(self.timestamps_mended)} of {name} repeat or are out of order: "
                "they were put in order"
            )
        if self.joints:
            count = "once" if self.joints == 1 else f"{self.joints} times"
            lines.append(f"the timestamps of {name} jump {count}: the parts were joined, picture and sound alike")
        if self.late_streams:
            lines.append(f"{name} has streams that begin later on: these were left out; split it there to code them")
        return tuple(lines)

    def check_strict(self, path: Path) -> None:
        """Raises DecodeError where ``--strict`` refuses the source."""
        if self.damaged:
            raise DecodeError(f"{path} is damaged ({self.notes(path)[0]}) and --strict refuses to lose anything")
        if self.joints:
            raise DecodeError(f"the timestamps of {path} jump and --strict refuses to join its parts; remux it first")
        if self.late_streams:
            raise DecodeError(
                f"{path} has streams that begin later on and --strict refuses to lose them; split it there"
            )


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"

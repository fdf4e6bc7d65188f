"""Log of problems found while reading a source."""

from dataclasses import dataclass, field, replace
from fractions import Fraction

from vidscale.errors import DecodeError
from vidscale.media.probe import Source


@dataclass(slots=True)
class ReadLog:
    """Counts and problems found while reading a source.

    Attributes:
        frames: decoded pictures.
        unreadable: packets that did not decode, and pictures counted by the container that are missing.
        concealed: decoded pictures in which the decoder concealed damage.
        damaged_identities: keyframes with a damaged identity in a file that has a valid one.
        lost_updates: keyframes whose update of the upscaler cannot be used.
        timestamps_made: pictures without a timestamp, which got one from the frame rate.
        timestamps_corrected: pictures whose timestamp was a duplicate, out of order or a decoding time.
        joints: number of timestamp jumps, at which the parts were joined.
        late_streams: some streams begin later in the file; they were not read.
        origin_s: source time of the output's zero; not 0 with a range, and when a source starts before 0.
        truncated_at_s: source time at which a truncated file ends.
        side_data: side data that raw pictures lose, in words, and the source time of its first picture, s.
    """

    frames: int = 0
    unreadable: int = 0
    concealed: int = 0
    damaged_identities: int = 0
    lost_updates: int = 0
    timestamps_made: int = 0
    timestamps_corrected: int = 0
    joints: int = 0
    late_streams: bool = False
    origin_s: Fraction = Fraction(0)
    truncated_at_s: Fraction | None = None
    side_data: dict[str, Fraction] = field(default_factory=dict)

    @property
    def damaged(self) -> bool:
        """Whether the source could not be read in full."""
        return bool(self.unreadable or self.concealed or self.truncated_at_s is not None)

    def shifted(self, seconds: Fraction) -> "ReadLog":
        """The log of the same pictures with later timestamps."""
        cut_off = self.truncated_at_s
        return replace(
            self,
            origin_s=self.origin_s + seconds,
            truncated_at_s=None if cut_off is None else cut_off + seconds,
            side_data={words: at + seconds for words, at in self.side_data.items()},
        )

    def notes(self, source: Source) -> tuple[str, ...]:
        """Messages for the user, one line each; times count from the source's first timestamp, as in ranges."""
        name, lines = source.path.name, []
        if self.unreadable:
            lines.append(f"{_frames(self.unreadable)} of {name} {'was' if self.unreadable == 1 else 'were'} unreadable")
        if self.truncated_at_s is not None:
            seconds = float(self.truncated_at_s - source.start_s)
            lines.append(f"{name} breaks off at {seconds:.2f} s; everything before that was read")
        if self.concealed:
            verb = "is" if self.concealed == 1 else "are"
            lines.append(f"{_frames(self.concealed)} of {name} {verb} damaged, concealed by the decoder")
        if self.damaged_identities:
            identities = (
                "identity of 1 keyframe"
                if self.damaged_identities == 1
                else f"identities of {self.damaged_identities} keyframes"
            )
            lines.append(f"the {identities} of {name} cannot be read; a valid one in the file was used")
        if self.lost_updates:
            updates = "update of 1 keyframe" if self.lost_updates == 1 else f"updates of {self.lost_updates} keyframes"
            lines.append(f"the {updates} of {name} cannot be used: the pair's own network restored the frames after it")
        if self.origin_s < 0:
            lines.append(f"{name} starts at {float(self.origin_s):.3f} s: all streams were shifted to start at 0")
        if self.timestamps_made:
            lines.append(f"{_frames(self.timestamps_made)} of {name} had no timestamp and got one from the frame rate")
        if self.timestamps_corrected:
            lines.append(
                f"the timestamps of {_frames(self.timestamps_corrected)} of {name} are duplicate or out of order: "
                "they were corrected"
            )
        if self.joints:
            count = "once" if self.joints == 1 else f"{self.joints} times"
            lines.append(f"the timestamps of {name} jump {count}: the parts were joined, video and audio alike")
        if self.late_streams:
            lines.append(f"{name} has streams that begin later: they were dropped; split the file there to keep them")
        return tuple(lines)

    def check_strict(self, source: Source) -> None:
        """Raises DecodeError where ``--strict`` refuses the source."""
        path = source.path
        if self.damaged:
            raise DecodeError(f"{path} is damaged ({self.notes(source)[0]}) and --strict refuses to lose anything")
        if self.joints:
            raise DecodeError(f"the timestamps of {path} jump and --strict refuses to join its parts; remux it first")
        if self.late_streams:
            raise DecodeError(f"{path} has streams that begin later and --strict refuses to drop them; split it there")


def _frames(count: int) -> str:
    return "1 frame" if count == 1 else f"{count} frames"

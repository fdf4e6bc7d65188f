"""The manifest of Dynamic Adaptive Streaming over HTTP (ISO/IEC 23009-1) of the segments that playlists name."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from xml.etree import ElementTree

from vidscale.media.playlists import Sound, Variant, peak_rate

MANIFEST = "manifest.mpd"
_NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
_TIMESCALE = 1_000_000  # of the timeline, the precision of HLS playlists
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"
_ALIGNED = {"segmentAlignment": "true", "startWithSAP": "1"}


@dataclass(frozen=True, slots=True)
class _Placed:
    """Segments of one initialization section: the number of the first, and where each begins and ends, seconds."""

    first: int
    times: tuple[tuple[Fraction, Fraction], ...]

    @classmethod
    def of(cls, stream: Variant | Sound) -> "_Placed":
        ends = list(accumulate((segment.duration_s for segment in stream.segments), initial=stream.start_s))
        return cls(0, tuple(pairwise(ends)))

    def within(self, begin: Fraction, end: Fraction) -> "_Placed":
        """Those of which something is played between two times."""
        numbers = [n for n, (first, last) in enumerate(self.times) if first < end and last > begin]
        return _Placed(numbers[0] if numbers else 0, tuple(self.times[n] for n in numbers))


def manifest_text(periods: Sequence[Sequence[Variant]], sounds: Sequence[Sound]) -> str:
    """A manifest with a period for each part of the movie that has initialization sections of its own.

    The first period begins with the first picture or sound. The timestamps in the segments go on from period to period.
    An audio segment that is played in two periods is named in both.

    Args:
        periods: the video renditions of each, in order; the segments of a rendition are numbered from 0 in each period.
        sounds: the audio; its segments are numbered from 0.
    """
    heard = [_Placed.of(sound) for sound in sounds]
    placed = [*map(_Placed.of, periods[0]), *map(_Placed.of, periods[-1]), *heard]
    zero = min(some.times[0][0] for some in placed if some.times)
    end = max(some.times[-1][1] for some in placed if some.times)
    longest = max(segment.duration_s for variants in periods for each in variants for segment in each.segments)
    root = ElementTree.Element(
        "MPD",
        xmlns=_NAMESPACE,
        profiles="urn:mpeg:dash:profile:isoff-live:2011",
        type="static",
        mediaPresentationDuration=_duration(end - zero),
        minBufferTime=_duration(longest),
    )
    begins = [zero, *(variants[0].start_s for variants in periods[1:])]
    for number, (variants, (begin, until)) in enumerate(zip(periods, pairwise([*begins, end]), strict=True)):
        period = ElementTree.SubElement(root, "Period", id=str(number), start=_duration(begin - zero))
        _add_pictures(period, variants, begin)
        for sound, segments in zip(sounds, heard, strict=True):
            if (some := segments.within(begin, until)).times:
                _add_sound(period, sound, some, begin)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_pictures(period: ElementTree.Element, variants: Sequence[Variant], begin: Fraction) -> None:
    pictures = ElementTree.SubElement(period, "AdaptationSet", _ALIGNED | {"contentType": "video"})
    for variant in variants:
        shown = {"width": str(variant.width), "height": str(variant.height)}
        if variant.frame_rate:
            shown["frameRate"] = str(variant.frame_rate)
        _add_representation(pictures, variant, "video/mp4", shown, _Placed.of(variant), begin)


def _add_sound(period: ElementTree.Element, sound: Sound, placed: _Placed, begin: Fraction) -> None:
    language = {"lang": sound.language} if sound.language else {}
    heard = ElementTree.SubElement(period, "AdaptationSet", _ALIGNED | {"contentType": "audio"} | language)
    ElementTree.SubElement(heard, "Label").text = sound.name
    added = _add_representation(heard, sound, "audio/mp4", {}, placed, begin)
    channels = ElementTree.Element("AudioChannelConfiguration", schemeIdUri=_CHANNELS, value=str(sound.channels))
    added.insert(0, channels)


def _add_representation(
    parent: ElementTree.Element,
    stream: Variant | Sound,
    mime: str,
    attributes: dict[str, str],
    placed: _Placed,
    begin: Fraction,
) -> ElementTree.Element:
    """Adds a stream from the timestamp on that its period begins with, seconds."""
    folder = stream.uri.rpartition("/")[0]
    name = folder.replace("/", "-")
    own = {"id": name, "mimeType": mime, "codecs": stream.codec, "bandwidth": str(peak_rate(stream.segments))}
    added = ElementTree.SubElement(parent, "Representation", own | attributes)
    template = ElementTree.SubElement(
        added,
        "SegmentTemplate",
        timescale=str(_TIMESCALE),
        presentationTimeOffset=str(round(begin * _TIMESCALE)),
        startNumber=str(placed.first),
        initialization=f"{folder}/init.mp4",
        media=f"{folder}/$Number%05d$.m4s",
    )
    timeline = ElementTree.SubElement(template, "SegmentTimeline")
    for times in placed.times:
        first, last = (round(time * _TIMESCALE) for time in times)
        ElementTree.SubElement(timeline, "S", t=str(first), d=str(last - first))
    return added


def _duration(seconds: Fraction) -> str:
    micro = round(seconds * _TIMESCALE)
    return f"PT{micro // _TIMESCALE}.{micro % _TIMESCALE:06d}S"

"""The manifest of Dynamic Adaptive Streaming over HTTP (ISO/IEC 23009-1) of the segments that playlists name."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil
from xml.etree import ElementTree

from vidscale.media.playlists import Segment, Sound, Variant, peak_rate

MANIFEST = "manifest.mpd"
_NAMESPACE = "urn:mpeg:dash:schema:mpd:2011"
_TIMESCALE = 1_000_000  # of the timeline, the precision of HLS playlists
_CHANNELS = "urn:mpeg:dash:23003:3:audio_channel_configuration:2011"


def manifest_text(variants: Sequence[Variant], sounds: Sequence[Sound]) -> str:
    """A manifest with one period, which begins with the first picture or sound.

    Args:
        variants: the video renditions; the segments of each share one initialization section, and are numbered from 0.
        sounds: the audio, likewise.
    """
    streams: list[Variant | Sound] = [*variants, *sounds]
    begin = min(stream.start_s for stream in streams)
    seconds = max(stream.start_s + _seconds(stream.segments) for stream in streams) - begin
    longest = max(segment.duration_s for variant in variants for segment in variant.segments)
    root = ElementTree.Element(
        "MPD",
        xmlns=_NAMESPACE,
        profiles="urn:mpeg:dash:profile:isoff-live:2011",
        type="static",
        mediaPresentationDuration=_duration(seconds),
        minBufferTime=_duration(longest),
    )
    period = ElementTree.SubElement(root, "Period", id="0", start="PT0S")
    aligned = {"segmentAlignment": "true", "startWithSAP": "1"}
    pictures = ElementTree.SubElement(period, "AdaptationSet", aligned | {"contentType": "video"})
    for variant in variants:
        shown = {"width": str(variant.width), "height": str(variant.height)}
        if variant.frame_rate:
            shown["frameRate"] = str(variant.frame_rate)
        _add_representation(pictures, variant, begin, "video/mp4", shown)
    for sound in sounds:
        language = {"lang": sound.language} if sound.language else {}
        heard = ElementTree.SubElement(period, "AdaptationSet", aligned | {"contentType": "audio"} | language)
        ElementTree.SubElement(heard, "Label").text = sound.name
        added = _add_representation(heard, sound, begin, "audio/mp4", {})
        channels = ElementTree.Element("AudioChannelConfiguration", schemeIdUri=_CHANNELS, value=str(sound.channels))
        added.insert(0, channels)
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _add_representation(
    parent: ElementTree.Element, stream: Variant | Sound, begin: Fraction, mime: str, attributes: dict[str, str]
) -> ElementTree.Element:
    folder = stream.uri.rpartition("/")[0]
    own = {"id": folder, "mimeType": mime, "codecs": stream.codec, "bandwidth": str(peak_rate(stream.segments))}
    added = ElementTree.SubElement(parent, "Representation", own | attributes)
    template = ElementTree.SubElement(
        added,
        "SegmentTemplate",
        timescale=str(_TIMESCALE),
        presentationTimeOffset=str(_ticks(begin)),
        startNumber="0",
        initialization=f"{folder}/init.mp4",
        media=f"{folder}/$Number%05d$.m4s",
    )
    timeline = ElementTree.SubElement(template, "SegmentTimeline")
    start = stream.start_s
    for segment in stream.segments:
        first, behind = _ticks(start), _ticks(start + segment.duration_s)
        ElementTree.SubElement(timeline, "S", t=str(first), d=str(behind - first))
        start += segment.duration_s
    return added


def _ticks(seconds: Fraction) -> int:
    return round(seconds * _TIMESCALE)


def _seconds(segments: Sequence[Segment]) -> Fraction:
    return sum((segment.duration_s for segment in segments), Fraction(0))


def _duration(seconds: Fraction) -> str:
    return f"PT{ceil(seconds * 1000) / 1000:.3f}S"

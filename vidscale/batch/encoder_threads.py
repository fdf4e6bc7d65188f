"""How many threads an encoder gets when several run side by side."""

from math import ceil

from vidscale.media.encoders import CodecName

_X264_SHARE = 1.5  # frame threads for each processor, as x264 has them by default
_X265_FRAMES = ((16, 5), (8, 3), (4, 2))  # processors and x265's default frame threads


def with_threads(codec: CodecName, params: str, processors: int) -> str:
    """Encoder parameters that make an encoder use its share of the machine; the user's own win.

    What x264 and x265 write depends on their number of threads, so that it is set explicitly, never detected. With two
    threads what x264 writes also depends on how fast pictures arrive (core 165, 2 to 5 of 10 runs differed), unless its
    lookahead has no thread of its own: the same chunk must become the same bytes.

    Args:
        codec: the encoder.
        params: the user's parameters, ``key=value:key=value``.
        processors: its share.
    """
    if codec == "x264":
        share = f"threads={max(1, ceil(processors * _X264_SHARE))}:sync-lookahead=0"
    elif codec == "x265":
        frames = next((frames for least, frames in _X265_FRAMES if processors >= least), 1)
        share = f"pools={processors}:frame-threads={frames}"
    else:
        share = f"lp={processors}"
    return f"{share}:{params}" if params else share

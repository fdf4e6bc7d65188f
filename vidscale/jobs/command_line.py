"""Words of `vidscale encode` command lines that reproduce an encode."""

from fractions import Fraction

from vidscale.config import EncodeSettings


def scale_word(scale: Fraction) -> str:
    """A scale as ``--scale`` reads it: ``2``, ``1.5``, or ``4/3`` for a repeating decimal."""
    decimal = f"{float(scale):g}"
    return decimal if Fraction(decimal) == scale else str(scale)


def other_options(settings: EncodeSettings) -> list[str]:
    """The options that decide what is encoded, besides scale, pair, crf, codec and preset, where not the defaults."""
    words = []
    if settings.effort is not None:
        words += ["--effort", settings.effort]
    if settings.adapt != "off":
        words += ["--adapt", settings.adapt]
    if settings.encoder_params:
        words += ["--encoder-params", settings.encoder_params]
    if settings.range is not None:
        words += ["--range", f"{settings.range.start}:{'' if settings.range.end is None else settings.range.end}"]
    if settings.stream:
        words += ["--stream", f"v:{settings.stream}"]
    for name in ("interlaced", "alpha"):
        if getattr(settings, name) != "refuse":
            words += [f"--{name}", getattr(settings, name)]
    return words

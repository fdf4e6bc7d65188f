"""Reads BMP files with Pillow, because the libvips of pyvips-binary does not."""

import io
import warnings

import numpy as np
import numpy.typing as npt

from vidscale.errors import DecodeError

SIGNATURE = b"BM"

_MODES = {"1": "L", "L": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGBA"}


def bmp_samples(data: bytes) -> tuple[npt.NDArray[np.uint8], bool]:
    """Decodes a BMP file.

    Returns:
        [H, W, bands], uint8, gray, RGB or RGBA; whether a palette was converted to RGB.

    Raises:
        DecodeError: broken, or of a kind that Pillow does not read.
    """
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large pictures are welcome
            image = Image.open(io.BytesIO(data), formats=["BMP"])
            mode = _MODES.get(image.mode)
            if mode is None:
                raise DecodeError(f"is BMP of mode {image.mode}: convert it to gray or RGB")
            samples = np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DecodeError(f"cannot be read: {' '.join(str(error).split()) or 'broken BMP'}") from error
    return np.atleast_3d(samples), image.mode == "P"

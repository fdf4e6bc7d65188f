"""Makes sets of triples: three frames of a shot, their small pictures and the motion between them.

A chunk depends only on the settings and its number, so making a set can stop and resume at any chunk.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from vidscale.media.frames import PixelFormat, Plane, YuvImage
from vidscale.models.fixed_pair import FixedPair
from vidscale.system.progress import Progress, counted
from vidscale.system.threads import in_order
from vidscale.training.clips import Clips
from vidscale.training.crops import find_pictures, read_rgb
from vidscale.training.material import make_chunks
from vidscale.training.motion import shot
from vidscale.training.motion_search import search
from vidscale.training.triples import GAP, TripleSettings, triple_type

_FRAMES = 2 * GAP + 1


class TripleMaker:
    """Makes the chunks of a set.

    Args:
        settings: settings of the set.
        photos: folder of photographs.
        folder: output folder.
        clips: folder of 8-bit 4:2:0 videos; None for photographs only.
    """

    def __init__(self, settings: TripleSettings, photos: Path, folder: Path, clips: Path | None = None) -> None:
        self._settings, self._folder = settings, folder
        self._photos = find_pictures(photos)
        side = self._even_side
        self._clips = Clips(clips, 2, (side, side)) if clips else None
        self._pair = FixedPair(settings.family, settings.ratio)

    @property
    def _even_side(self) -> int:
        return -(-self._settings.large_side // 2) * 2

    def make(self, progress: Progress, *, jobs: int) -> None:
        """Makes the missing chunks, `jobs` shots at a time.

        Raises:
            VidscaleError: a photograph or clip cannot be read, or the folder cannot be written.
        """

        def records(numbers: range) -> npt.NDArray[Any]:
            filled = np.empty(len(numbers), triple_type(self._settings))
            for record, made in zip(filled, counted(in_order(self._triple, numbers, jobs), progress), strict=True):
                for name, value in made.items():
                    record[name] = value
            return filled

        make_chunks(self._settings, self._folder, "preparing", records, progress)

    def _triple(self, number: int) -> dict[str, npt.NDArray[Any]]:
        settings = self._settings
        rng = np.random.default_rng([settings.seed, number])
        originals = self._frames(rng)
        small = [self._downscaled(luma) for luma in originals]
        i, b, p = (luma.astype(np.float32) for luma in small)
        return {
            "hr": np.stack(originals),
            "lr": np.stack(small),
            "p_from_i": search(p, i),
            "b_from_i": search(b, i),
            "b_from_p": search(b, p),
        }

    def _frames(self, rng: np.random.Generator) -> list[npt.NDArray[Any]]:
        """Luma of the three frames."""
        settings, side = self._settings, self._even_side
        if self._clips and rng.random() < settings.clip_share:
            frames = [frame.planes[0] for frame in self._clips.part(rng, _FRAMES, (side, side))]
        else:
            photo, other = (read_rgb(self._photos[int(rng.integers(len(self._photos)))]) for _ in range(2))
            frames = [planes[0] for planes in shot(photo, other, (side, side), _FRAMES, rng, settings.motion)]
        if rng.random() < 0.5:
            frames.reverse()
        large = settings.large_side
        chosen = [frames[min(n * GAP, len(frames) - 1)] for n in range(3)]
        return [np.array(luma[:large, :large]) for luma in chosen]

    def _downscaled(self, luma: Plane) -> Plane:
        return self._pair.downscale(YuvImage((luma,), PixelFormat("gray", 8)))[0]

"""Footage: videos found, split, and read frame by frame."""

import weakref

import numpy as np
import pytest
from material import make
from PIL import Image

from vidscale.errors import TrainingError
from vidscale.training.footage import Footage, Part, PictureFilm, VideoFilm, find_films, split, whole

FRAMES = 60


def numbered(path, *options, pix_fmt="yuv420p", rate=25):
    """A video of 32x16 whose 8-bit luma encodes the frame number: 20, and 3 more per frame."""
    values = 20 + 3 * np.arange(FRAMES)
    raw = b"".join(np.full((16, 32), value, np.uint8).tobytes() + bytes([128] * 256) for value in values)
    words = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", "32x16", "-r", rate, "-i", "-", "-pix_fmt", pix_fmt]
    return make(path, *words, *options, data=raw)


def number(luma):
    return round((float(luma.codes.mean()) / (1 << luma.bit_depth - 8) - 20) / 3)


@pytest.mark.parametrize(
    ("name", "options", "pix_fmt", "rate"),
    [
        ("long-gop.mkv", ["-c:v", "libx264", "-g", 60, "-bf", 3, "-crf", 5], "yuv420p", 25),
        ("short-gop.mp4", ["-c:v", "libx264", "-g", 8, "-bf", 2, "-crf", 5], "yuv420p10le", "30000/1001"),
        ("late.ts", ["-c:v", "libx264", "-g", 12, "-bf", 0, "-crf", 5], "yuv420p", 24),
        ("raw.y4m", [], "yuv420p", 25),
    ],
)
def test_every_frame_is_found_in_any_order(tmp_path, name, options, pix_fmt, rate):
    film = VideoFilm.open(numbered(tmp_path / name, *options, pix_fmt=pix_fmt, rate=rate))
    assert film.frames == FRAMES
    order = np.random.default_rng(0).permutation(FRAMES)[:20].tolist()
    assert [number(film.read(n, FRAMES)) for n in [*order, 0, FRAMES - 1]] == [*order, 0, FRAMES - 1]


def test_frames_to_train_on_and_to_validate_on_are_others(tmp_path):
    """Also with a variable frame rate, where frame numbers do not follow from times."""
    films = tmp_path / "films"
    films.mkdir()
    numbered(films / "a.mkv", "-c:v", "ffv1")
    uneven = ["-vf", "setpts='if(lt(N,20),N,if(lt(N,40),20+4*(N-20),100+N-40))/25/TB'", "-fps_mode", "passthrough"]
    numbered(films / "b.mkv", *uneven, "-c:v", "ffv1")
    for part in range(2):
        learned, held_out = (
            {number(footage[n]) for n in range(len(footage)) if footage.place(n) == part}
            for footage in split(find_films(films), 0.25)
        )
        assert learned
        assert held_out
        assert learned.isdisjoint(held_out)
        if part == 0:
            assert learned == set(range(45))
            assert held_out == set(range(45, 60))


def test_pictures_of_a_folder_are_a_film(tmp_path):
    for name, value in (("b/2.png", 255), ("b/1.png", 0), ("a/only.jpg", 128)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (40, 30), (value, value, value)).save(path)
    (tmp_path / "notes.txt").write_text("no film")
    films = find_films(tmp_path)
    assert [(film.name, film.frames, film.shortest_side) for film in films] == [("a", 1, 30), ("b", 2, 30)]
    assert [int(films[1].read(n, 2).codes[0, 0]) for n in (0, 1)] == [16, 235]  # limited range
    learned, held_out = split(films, 0.1)
    assert (len(learned), len(held_out)) == (1, 1)  # nothing can be held out of a film of one picture
    assert int(held_out[0].codes[0, 0]) == 235


def test_memory_is_bounded(tmp_path):
    film = VideoFilm.open(numbered(tmp_path / "a.mkv", "-c:v", "ffv1"))
    footage = Footage([Part(film, 0, FRAMES)], kept_bytes=3 * 32 * 16)
    seen = [weakref.ref(footage[n].codes) for n in range(12)]
    assert [n for n, codes in enumerate(seen) if codes() is not None] == [9, 10, 11]
    assert footage[10].codes is seen[10]()  # it is not read again


def test_damaged_end_of_a_film_is_replaced_by_frames_before(tmp_path):
    path = numbered(tmp_path / "a.mkv", "-c:v", "ffv1", "-g", 1)
    film = VideoFilm.open(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    footage = Footage([Part(film, 0, FRAMES)])
    assert 0 <= number(footage[FRAMES - 1]) < FRAMES - 1
    path.write_bytes(b"")
    with pytest.raises(TrainingError, match=r"a.mkv cannot be read: .*empty"):
        Footage([Part(film, 0, FRAMES)])[5]


def test_damaged_picture_is_replaced_by_one_before(tmp_path):
    for name in range(4):
        Image.new("RGB", (40, 30), (name, name, name)).save(tmp_path / f"{name}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:60])
    (film,) = find_films(tmp_path)
    footage = Footage([Part(film, 0, 4)])
    assert np.array_equal(footage[3].codes, footage[1].codes)
    (tmp_path / "0.png").write_bytes(b"")
    with pytest.raises(TrainingError, match=r"0.png cannot be read"):
        Footage([Part(film, 0, 4)])[0]


def test_evenly_spread_frames():
    footage = Footage([Part(PictureFilm(()), 0, 10), Part(PictureFilm(()), 5, 25)])
    assert footage.evenly(3) == [5, 15, 25]
    assert [footage.place(n) for n in (0, 9, 10, 29)] == [0, 0, 1, 1]
    assert footage.evenly(100) == list(range(30))


def test_footage_errors(tmp_path):
    with pytest.raises(TrainingError, match="no videos or pictures in"):
        find_films(tmp_path)
    with pytest.raises(TrainingError, match=r"no videos or pictures in .*none"):
        find_films(tmp_path / "none")
    (tmp_path / "a.mkv").write_text("not a video")
    with pytest.raises(TrainingError, match=r"a\.mkv cannot be opened as a video"):
        find_films(tmp_path)
    (tmp_path / "a.mkv").unlink()
    stream = numbered(tmp_path / "a.264", "-c:v", "libx264").rename(tmp_path / "a.mpg")
    with pytest.raises(TrainingError, match=r"a\.mpg has no duration: remux it"):
        find_films(stream)
    Image.new("RGB", (40, 30)).save(tmp_path / "only.png")
    with pytest.raises(TrainingError, match="all films have a single frame"):
        split([PictureFilm((tmp_path / "only.png",))], 0.1)
    with pytest.raises(TrainingError, match="has a side of 30, training needs 31 or more"):
        whole([PictureFilm((tmp_path / "only.png",))]).check_sides(31)

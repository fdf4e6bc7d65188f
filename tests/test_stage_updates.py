"""`vidscale.stages.updates`: which update holds for a picture."""

from types import SimpleNamespace

import pytest

from vidscale.stages.updates import KeyframeUpdates, update_at


def shown(*pictures):
    """KeyframeUpdates of pictures, each given as its timestamp and whether it is a keyframe."""
    updates = KeyframeUpdates()
    for pts, update in ((0, b"first"), (10, b"second"), (20, b"")):
        updates.open(pts, update)
    return [updates.at(SimpleNamespace(pts=pts, key_frame=key)) for pts, key in pictures]


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        ([(0, True), (9, False), (10, True), (11, False), (20, True)], [b"first", b"first", b"second", b"second", b""]),
        ([(0, True), (12, False)], [b"first", b"second"]),  # the second keyframe is lost
        ([(25, False)], [b""]),
        ([(-1, False), (0, True)], [b"", b"first"]),
        ([(None, True), (None, False), (None, True)], [b"first", b"first", b"second"]),
    ],
)
def test_update_holds_from_its_keyframe_on(pictures, expected):
    assert shown(*pictures) == expected


def test_keyframes_without_timestamps_are_counted():
    updates = KeyframeUpdates()
    updates.open(None, b"first")
    updates.open(None, b"second")
    pictures = [SimpleNamespace(pts=None, key_frame=key) for key in (True, False, True)]
    assert [updates.at(picture) for picture in pictures] == [b"first", b"first", b"second"]


def test_update_at_a_time() -> None:
    updates = [(10, b"one"), (20, b""), (30, b"two")]
    found = [update_at(updates, pts) for pts in (9, 10, 19, 20, 29, 30, 1000)]
    assert found == [b"", b"one", b"one", b"", b"", b"two", b"two"]
    assert update_at([], 5) == b""

"""Names of pairs: a family, a scale, or a folder."""

from fractions import Fraction
from pathlib import Path

import pytest
from test_compact import pair_folder, trained

from vidscale.errors import ModelError, UsageError
from vidscale.models.pair_name import PairName, tuned_for
from vidscale.models.pairs import find_pair, scale_named


@pytest.mark.parametrize(
    ("text", "family", "scale"),
    [
        ("adaptive", "adaptive", None),
        ("adaptive-x2", "adaptive", 2),
        ("adaptive-quality-vmaf-x2", "adaptive-quality-vmaf", 2),
        ("adaptive-x1.5", "adaptive", Fraction(3, 2)),
        ("mine-x4-3", "mine", Fraction(4, 3)),
        ("mine-x4/3", "mine", Fraction(4, 3)),
        ("mine-xl", "mine-xl", None),
        ("mine-xl-x3", "mine-xl", 3),
        ("mine-x2-soft", "mine-x2-soft", None),
        ("x2", "x2", None),
        ("-x2", "-x2", None),
    ],
)
def test_parse_pair_name(text: str, family: str, scale: Fraction | None) -> None:
    name = PairName.parse(text)
    assert (name.family, name.scale, name.folder) == (family, scale, None)
    assert PairName.parse(str(name)) == name


def test_pair_name_of_a_folder_is_its_card(tmp_path: Path) -> None:
    folder = pair_folder(tmp_path / "somewhere", trained())
    name = PairName.of(str(folder))
    assert (name.scale, name.folder, str(name)) == (2, folder, str(folder))
    assert PairName.of(name) is name


def test_pair_name_errors() -> None:
    for text in ("lanczos-x9", "lanczos-x0", "lanczos-x1/2"):
        with pytest.raises(UsageError, match=rf"invalid pair '{text}': scale .* is outside 1 to 8"):
            PairName.parse(text)


def test_family_with_an_x_in_its_name_is_found_by_family_and_scale(home: Path) -> None:
    pair_folder(home / "home" / "vidscale" / "pairs" / "mine-xl-x2", trained(), name="mine-xl-x2")
    assert find_pair("mine-xl", Fraction(2), "cpu").name == "mine-xl-x2"
    assert find_pair("mine-xl-x2", None, "cpu").scale == scale_named("mine-xl") == 2
    with pytest.raises(ModelError, match=r"unknown pair 'mine-xl-x3'; choose from .*mine-xl-x2$"):
        find_pair("mine-xl", Fraction(3), "cpu")


def test_tune_is_in_the_name() -> None:
    """Of any pair, with a scale that no pair can have too."""
    names = {"adaptive-vmaf-x2": "vmaf", "restore-vmaf-x1": "vmaf", "adaptive-x1.5": "psnr", "mine": "psnr"}
    names |= {"mine-x99": "psnr", "mine-vmaf-x99": "vmaf", "mine-vmaf": "vmaf", "vmaf-x2": "psnr"}
    assert {name: tuned_for(name) for name in names} == names

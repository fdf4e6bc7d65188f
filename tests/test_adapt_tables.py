"""The tables of docs/adapt.md match the stored rows, and what it and README.md say of them."""

from pathlib import Path

import pytest
from generated_pages import ROOT, check_written, table

PAGE = ROOT / "docs" / "adapt.md"


def test_page_has_the_figures_of_the_stored_rows(tmp_path: Path) -> None:
    check_written(PAGE, "adapt_tables.py", tmp_path)


@pytest.mark.parametrize(
    ("name", "way", "wording"),
    [
        ("gain", "adaptive-x2, x265", "saves {} of the bits by PSNR-Y, {} by SSIM-Y, {} by VMAF and {} by VMAF NEG"),
        ("best", "adaptive-x2, x265", "`--adapt best` saves {} by PSNR-Y, {} by SSIM-Y, {} by VMAF and {} by VMAF NEG"),
        (
            "whole",
            "restore-x1, x265",
            "saves {} by PSNR-Y, {} by SSIM-Y, {} by VMAF and {} by VMAF NEG against a plain",
        ),
    ],
)
def test_gains_in_the_text_are_those_of_the_tables(name: str, way: str, wording: str) -> None:
    """The means, wherever they are told."""
    means = {row[0]: row[2:] for row in table(PAGE, name) if row[1].startswith("mean of")}
    told = [f"{float(cell.removesuffix(' %').replace('-', '')):.1f} %" for cell in means[way]]
    assert wording.format(*told) in " ".join(PAGE.read_text(encoding="utf-8").split())

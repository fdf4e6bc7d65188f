"""`vidscale.images.picture`, `metadata` and `origin`: files as Pillow and tifffile read them, and what they hold."""

import io
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms, PngImagePlugin
from skimage import data

from vidscale.errors import DecodeError, EncodeError, IdentityError
from vidscale.images.metadata import held, lost
from vidscale.images.origin import check_size, find_identity, with_identity, without_identity
from vidscale.images.picture import Picture, PictureFormat, decode_picture, encode_picture
from vidscale.media.identity import Identity

PHOTOGRAPH = np.ascontiguousarray(data.astronaut()[100:161, 180:267])
FORMATS: list[PictureFormat] = ["png", "jpeg", "webp", "tiff"]
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = (
    b'<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF '
    b'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" dc:format="image/jpeg"/></rdf:RDF></x:xmpmeta><?xpacket end="w"?>'
)
IDENTITY = Identity(
    pair="car-x2",
    sha256="0" * 64,
    scale="2",
    width=87,
    height=61,
    coded_width=44,
    coded_height=31,
    codec="png",
    time_base="1",
)
COPYRIGHT, ORIENTATION, EXIF_IFD, TAKEN = 0x8298, 0x0112, 0x8769, 0x9003


def saved(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def camera_jpeg() -> bytes:
    """As a camera writes it: EXIF with its directory, an orientation, a colour profile, 300 dpi, XMP."""
    exif = Image.Exif()
    exif[COPYRIGHT], exif[ORIENTATION] = "somebody", 6
    exif.get_ifd(EXIF_IFD)[TAKEN] = "2020:01:02 03:04:05"
    image = Image.fromarray(PHOTOGRAPH)
    return saved(image, format="JPEG", quality=95, exif=exif, icc_profile=PROFILE, dpi=(300, 300), xmp=XMP)


def stacked(picture: Picture) -> np.ndarray[Any, Any]:
    planes = picture.planes if picture.alpha is None else (*picture.planes, picture.alpha)
    return np.stack(planes, axis=2).squeeze()


@pytest.mark.parametrize("mode", ["L", "LA", "RGB", "RGBA"])
@pytest.mark.parametrize("picture_format", ["PNG", "TIFF"])
def test_eight_bits_are_read_as_pillow_reads_them(mode: str, picture_format: str) -> None:
    image = Image.fromarray(PHOTOGRAPH).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(PHOTOGRAPH[..., 0]))
    picture = decode_picture(saved(image, format=picture_format))
    assert np.array_equal(stacked(picture), np.asarray(image))
    assert (picture.alpha is None, picture.bit_depth) == (not mode.endswith("A"), 8)


@pytest.mark.parametrize("picture_format", ["WebP", "JPEG"])
def test_lossy_formats_are_read_as_pillow_reads_them(picture_format: str) -> None:
    file = saved(Image.fromarray(PHOTOGRAPH), format=picture_format, quality=90, subsampling=0)
    difference = stacked(decode_picture(file)).astype(int) - np.asarray(opened(file).convert("RGB"))
    assert np.abs(difference).max() <= 1


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_sixteen_bits_are_read_as_tifffile_writes_them(channels: int) -> None:
    codes = np.random.default_rng(0).integers(0, 65536, (20, 30, channels), np.uint16).squeeze()
    file = io.BytesIO()
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    tifffile.imwrite(file, codes, photometric="minisblack" if channels == 1 else "rgb", **extra)
    picture = decode_picture(file.getvalue())
    assert np.array_equal(stacked(picture), codes)
    assert picture.bit_depth == 16


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize(
    ("picture_format", "dtype"),
    [("png", np.uint8), ("png", np.uint16), ("tiff", np.uint8), ("tiff", np.uint16), ("webp", np.uint8)],
)
def test_lossless_formats_bring_every_code_back(channels: int, dtype: Any, picture_format: PictureFormat) -> None:
    codes = np.random.default_rng(1).integers(0, np.iinfo(dtype).max + 1, (channels, 7, 5), dtype)
    alpha = codes[-1] if channels in (2, 4) else None
    picture = Picture(tuple(codes[: channels - (alpha is not None)]), alpha)
    again = decode_picture(encode_picture(picture, picture_format))
    if picture_format == "webp" and channels < 3:  # which knows no gray
        assert all(np.array_equal(plane, codes[0]) for plane in again.planes)
    else:
        assert np.array_equal(np.stack(again.planes), np.stack(picture.planes))
    assert alpha is None or np.array_equal(again.alpha, alpha)


def test_sixteen_bit_png_is_what_the_format_says() -> None:
    codes = np.random.default_rng(2).integers(0, 65536, (3, 4, 6), np.uint16)
    file = encode_picture(Picture(tuple(codes)), "png")
    assert struct.unpack(">IIBB", file[16:26]) == (6, 4, 16, 2)


@pytest.mark.parametrize("picture_format", FORMATS)
def test_metadata_is_kept_as_pillow_sees_it(picture_format: PictureFormat) -> None:
    written = opened(encode_picture(decode_picture(camera_jpeg()), picture_format))
    exif = written.getexif()
    assert exif[ORIENTATION] == 6
    assert written.info["icc_profile"] == PROFILE
    packet = written.info.get("xmp") or written.info.get("XML:com.adobe.xmp") or exif.get(700)
    assert (packet.encode() if isinstance(packet, str) else packet) == XMP
    if picture_format != "tiff":  # libvips writes no EXIF there, and `lost` says so
        assert exif[COPYRIGHT].strip() == "somebody"
        assert exif.get_ifd(EXIF_IFD)[TAKEN] == "2020:01:02 03:04:05"
        assert exif[0x011A] == 300
    if picture_format != "webp":  # which has it in EXIF alone
        assert written.info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_resolution_of_webp_survives() -> None:
    webp = encode_picture(decode_picture(camera_jpeg()), "webp")
    assert opened(encode_picture(decode_picture(webp), "png")).info["dpi"] == pytest.approx((300, 300), abs=0.01)


def test_no_resolution_is_made_up_from_exif_without_one() -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    source = saved(Image.fromarray(PHOTOGRAPH), format="WebP", exif=exif)
    written = opened(encode_picture(decode_picture(source), "png"))
    assert written.getexif()[ORIENTATION] == 6
    assert written.info["dpi"] == pytest.approx((72, 72), abs=0.1)  # libvips's value for unknown


def test_text_of_png_is_kept() -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Title", "a picture")
    text.add_itxt("Author", "Ünï")
    text.add_text("Comment", "déjà vu", zip=True)
    file = encode_picture(decode_picture(saved(Image.fromarray(PHOTOGRAPH), format="PNG", pnginfo=text)), "png")
    assert opened(file).info | {"dpi": 0} == {"Title": "a picture", "Author": "Ünï", "Comment": "déjà vu", "dpi": 0}
    assert "exif" not in opened(file).info  # none is made up


def test_gamma_and_colour_tags_of_png_are_kept() -> None:
    info = PngImagePlugin.PngInfo()
    info.add(b"gAMA", struct.pack(">I", 100000))
    info.add(b"cICP", bytes([9, 16, 0, 1]))
    source = saved(Image.fromarray(PHOTOGRAPH), format="PNG", pnginfo=info)
    written = encode_picture(decode_picture(source), "png")
    assert opened(written).info["gamma"] == 1
    assert written.count(b"cICP" + bytes([9, 16, 0, 1])) == 1
    assert np.array_equal(np.asarray(opened(written)), PHOTOGRAPH)


def test_what_a_format_loses_is_named() -> None:
    jpeg = camera_jpeg()
    source = decode_picture(jpeg)
    assert set(held(jpeg)) == {"EXIF", "XMP", "ICC profile"}
    assert [lost(jpeg, encode_picture(source, name)) for name in FORMATS] == [[], [], [], ["EXIF"]]
    info = PngImagePlugin.PngInfo()
    info.add_text("Title", "a picture")
    info.add(b"gAMA", struct.pack(">I", 100000))
    info.add(b"cICP", bytes([9, 16, 0, 1]))
    png = saved(Image.fromarray(PHOTOGRAPH), format="PNG", pnginfo=info)
    assert lost(png, encode_picture(decode_picture(png), "png")) == []
    assert lost(png, encode_picture(decode_picture(png), "jpeg")) == ["colour tags (cICP)", "text"]
    commented = saved(Image.fromarray(PHOTOGRAPH), format="JPEG", comment=b"a comment")
    assert lost(commented, encode_picture(decode_picture(commented), "jpeg")) == ["comment"]
    tiff = saved(Image.fromarray(PHOTOGRAPH), format="TIFF", tiffinfo={270: "a picture", 315: "somebody"})
    assert lost(tiff, encode_picture(decode_picture(tiff), "tiff")) == ["artist"]


@pytest.mark.parametrize("picture_format", ["PNG", "JPEG", "TIFF", "WebP"])
def test_walking_over_damaged_files_ends(picture_format: str) -> None:
    whole = saved(Image.fromarray(PHOTOGRAPH), format=picture_format, icc_profile=PROFILE)
    rng = np.random.default_rng(3)
    for length in range(0, min(len(whole), 300)):
        list(held(whole[:length]))
    for _ in range(200):
        damaged = bytearray(whole)
        for place in rng.integers(2, 200, 3):
            damaged[place] = rng.integers(256)
        list(held(bytes(damaged)))


def test_palette_and_bilevel_become_rgb_and_gray() -> None:
    palette = Image.fromarray(PHOTOGRAPH).quantize(16)
    picture = decode_picture(saved(palette, format="PNG"))
    assert np.array_equal(stacked(picture), np.asarray(palette.convert("RGB")))
    assert picture.notes == ("palette converted to RGB",)
    assert len(decode_picture(encode_picture(picture, "png")).notes) == 0
    bilevel = Image.fromarray(PHOTOGRAPH).convert("1")
    assert np.array_equal(stacked(decode_picture(saved(bilevel, format="PNG"))), np.asarray(bilevel.convert("L")))


def test_jpeg_in_tiff_is_read_as_pillow_reads_it() -> None:
    file = saved(Image.fromarray(PHOTOGRAPH).convert("YCbCr"), format="TIFF", compression="jpeg")
    difference = stacked(decode_picture(file)).astype(int) - np.asarray(opened(file).convert("RGB"))
    assert np.abs(difference).max() <= 3  # Pillow converts in integers


@pytest.mark.parametrize("mode", ["L", "P", "RGB"])
def test_transparent_colour_becomes_alpha(mode: str) -> None:
    image = Image.fromarray(PHOTOGRAPH)
    image = image.quantize(16) if mode == "P" else image.convert(mode)
    key = image.getpixel((40, 30))
    file = saved(image, format="PNG", transparency=key)
    expected = opened(file).convert("LA" if mode == "L" else "RGBA")
    assert np.array_equal(stacked(decode_picture(file)), np.asarray(expected))
    assert np.asarray(expected)[..., -1].min() == 0


def test_pictures_that_are_not_taken() -> None:
    image = Image.fromarray(PHOTOGRAPH)
    png = saved(image, format="PNG")
    animation = {"save_all": True, "append_images": [image.rotate(90)]}
    for file, message in [
        (saved(image.convert("CMYK"), format="JPEG"), r"^is CMYK with 4 channels: convert it to gray or RGB$"),
        (saved(image.convert("F"), format="TIFF"), r"^has samples of type float: convert it to 8 or 16 bits$"),
        (saved(image.convert("CMYK"), format="TIFF"), r"^is CMYK with 4 channels: convert it to gray or RGB$"),
        (saved(image.convert("YCbCr"), format="TIFF"), r"^is TIFF of YCbCr: convert it to gray or RGB$"),
        (saved(image.convert("LAB"), format="TIFF"), r"^(is LAB|cannot be read)"),
        (saved(image, format="TIFF", **animation), r"^has more than one page or frame: split it into single pictures$"),
        (saved(image, format="WebP", **animation), r"^has more than one page or frame: split it into single pictures$"),
        (saved(image, format="PNG", **animation), r"^has more than one page or frame: split it into single pictures$"),
        (saved(image, format="GIF"), r"^is GIF: convert it to PNG, JPEG, WebP or TIFF$"),
        (b"", r"^cannot be read: "),
        (b"no picture", r"^cannot be read: buffer is not in a known format$"),
        (png[: len(png) // 2], r"^cannot be read: "),
        (camera_jpeg()[:-400], r"^cannot be read: "),
        (png[:60] + bytes(40) + png[100:], r"^cannot be read: "),
    ]:
        with pytest.raises(DecodeError, match=message):
            decode_picture(file)


def test_pictures_that_a_format_cannot_hold() -> None:
    deep = Picture(tuple(np.zeros((3, 4, 4), np.uint16)))
    clear = Picture(tuple(np.zeros((3, 4, 4), np.uint8)), np.zeros((4, 4), np.uint8))
    for picture, name, message in [
        (deep, "jpeg", r"^JPEG has 8 bits, not 16: choose PNG or TIFF$"),
        (deep, "webp", r"^WEBP has 8 bits"),
        (clear, "jpeg", r"^JPEG does not support transparency: choose PNG, WebP or TIFF$"),
        (Picture((np.zeros((1, 16500), np.uint8),)), "webp", r"^cannot be written as WEBP: "),
    ]:
        with pytest.raises(EncodeError, match=message):
            encode_picture(picture, name)


def test_quality_is_of_jpeg_and_webp() -> None:
    picture = decode_picture(saved(Image.fromarray(PHOTOGRAPH), format="PNG"))
    for name in ("jpeg", "webp"):
        sizes = [len(encode_picture(picture, name, quality=quality)) for quality in (20, 80)]
        assert sizes[0] < sizes[1] < len(encode_picture(picture, name))


# Identity.


@pytest.mark.parametrize("picture_format", FORMATS)
@pytest.mark.parametrize("packet", [None, XMP], ids=["no XMP", "XMP"])
def test_identity_travels_in_every_format(picture_format: PictureFormat, packet: bytes | None) -> None:
    picture = decode_picture(saved(Image.fromarray(PHOTOGRAPH), format="PNG")).with_xmp(packet)
    again = decode_picture(encode_picture(picture.with_xmp(with_identity(picture.xmp, IDENTITY)), picture_format))
    assert find_identity(again.xmp) == IDENTITY
    assert without_identity(again.xmp) == packet


def test_identity_replaces_an_older_one() -> None:
    other = IDENTITY.model_copy(update={"pair": "lanczos-x2", "sha256": ""})
    packet = with_identity(with_identity(XMP, other), IDENTITY)
    assert packet == with_identity(XMP, IDENTITY)


def test_identity_in_a_packet_that_was_written_anew() -> None:
    json = IDENTITY.to_json().replace('"', "&quot;")
    packet = with_identity(None, IDENTITY)
    begin = packet.index(b"<rdf:Description")
    element = (
        '<rdf:Description rdf:about="" xmlns:ns1="urn:uuid:17aa6e42-5908-4f2d-969e-0ecab733dd6a#">'
        f"<ns1:identity>{json}</ns1:identity></rdf:Description>"
    )
    anew = packet[:begin] + element.encode() + packet[packet.index(b"</rdf:RDF>") :]
    assert find_identity(anew) == IDENTITY


def test_packets_without_identity() -> None:
    for packet in (None, XMP, b"", b"<not xml", "<x/>".encode("utf-16")):
        assert find_identity(packet) is None
    assert with_identity("<x/>".encode("utf-16"), IDENTITY) is None


def test_identity_errors() -> None:
    later = with_identity(None, IDENTITY).replace(b'"vidscale":1', b'"vidscale":3')
    with pytest.raises(IdentityError, match="schema version 3"):
        find_identity(re.sub(rb',"crc32":"\w+"', b"", later))
    with pytest.raises(
        IdentityError, match=r"^its identity says 44x31, but the picture is 40x31: was it scaled afterwards\?$"
    ):
        check_size(IDENTITY, 31, 40)
    check_size(IDENTITY, 31, 44)


def test_entities_are_not_blown_up() -> None:
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa">' + b"".join(
        b'<!ENTITY %c "%s">' % (98 + i, b"&%c;" % (97 + i) * 10) for i in range(12)
    )
    assert find_identity(bomb + b"]><x>&m;</x>") is None


def test_png_of_one_byte_in_every_chunk_is_not_taken_for_a_picture(tmp_path: Path) -> None:
    chunk = b"IHDR" + bytes(1)
    file = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk))
    with pytest.raises(DecodeError):
        decode_picture(file)

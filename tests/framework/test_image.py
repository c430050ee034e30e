"""Pictures as they come."""

import struct
import zlib

import pytest
from PIL import Image

from preimage.errors import InputError
from preimage.image import load_image, sha256


def huge_png(path, side=30_000):
    """Write a valid one-bit picture of `side` x `side` pixels in about 110 KB."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    row = b"\0" + bytes((side + 7) // 8)
    packer = zlib.compressobj(9)
    data = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def test_a_picture_of_thirty_thousand_pixels_a_side_is_refused_before_it_is_read(tmp_path):
    """The message names the size and the limit."""
    huge_png(tmp_path / "huge.png")
    with pytest.raises(InputError, match=r"huge.png is too large \(.*at most 100,000,000 pixels"):
        load_image(tmp_path / "huge.png")


def test_a_truncated_picture_is_a_sentence(tmp_path):
    """It says what to do."""
    Image.effect_noise((64, 64), 50).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:700])
    with pytest.raises(InputError, match=r"half.png is damaged or truncated .*again"):
        load_image(tmp_path / "half.png")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"hello", "is not a picture"), (b"", "is not a picture"), (None, "cannot be opened")],
)
def test_what_is_no_picture_is_a_sentence(tmp_path, content, sentence):
    """Also an empty and a missing file."""
    path = tmp_path / "picture.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=sentence):
        load_image(path)


def test_a_folder_is_not_a_picture(tmp_path):
    """The message says which files to give instead."""
    with pytest.raises(InputError, match="is a folder: give the pictures in it"):
        load_image(tmp_path)


def test_transparent_parts_become_white():
    """Rather than black, which an alpha channel often hides."""
    image = load_image(Image.new("RGBA", (2, 2), (10, 20, 30, 0)))
    assert image.mode == "RGB"
    assert image.getpixel((0, 0)) == (255, 255, 255)


def test_a_photograph_is_turned_upright(tmp_path):
    """As its camera noted."""
    picture = Image.new("RGB", (4, 2))
    exif = picture.getexif()
    exif[0x0112] = 6
    picture.save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (2, 4)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I"])
def test_sixteen_bits_become_eight(tmp_path, mode):
    """Rather than white wherever there is any light."""
    scan = Image.new(mode, (3, 1))
    for place, value in enumerate((0, 128 * 257 + 100, 65_535)):
        scan.putpixel((place, 0), value)
    scan.save(tmp_path / "scan.tiff")
    for source in (scan, tmp_path / "scan.tiff"):
        assert [load_image(source).getpixel((place, 0)) for place in range(3)] == [(0,) * 3, (128,) * 3, (255,) * 3]


def test_integers_of_eight_bits_stay_as_they_are():
    """An array of integers makes such a picture."""
    assert load_image(Image.new("I", (1, 1), 200)).getpixel((0, 0)) == (200, 200, 200)


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("I", -3), ("I", 70_000)])
def test_numbers_that_do_not_say_what_is_white_are_a_sentence(mode, value):
    """There is no telling how bright they are meant to be."""
    with pytest.raises(InputError, match=rf"The picture holds numbers from {value:g} to {value:g} \(mode {mode}\)"):
        load_image(Image.new(mode, (1, 1), value))


def test_the_hash_is_of_the_pixels_and_not_of_the_file(tmp_path):
    """So that the same picture in another format is the same target."""
    picture = Image.effect_noise((8, 8), 50).convert("RGB")
    picture.save(tmp_path / "a.png")
    picture.save(tmp_path / "b.bmp")
    assert sha256(load_image(tmp_path / "a.png")) == sha256(load_image(tmp_path / "b.bmp"))
    assert sha256(picture) != sha256(picture.rotate(90))

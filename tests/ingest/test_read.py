import subprocess
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from dermlens.errors import ImageError
from dermlens.ingest.decoders.pixels import BACKGROUND
from dermlens.ingest.formats import NO_HEIC, Limits
from dermlens.ingest.read import read_file, read_image
from tests.conftest import encode
from tests.image_files import picture, png_of_size, saved


def test_png_is_read_exactly(lesion: np.ndarray) -> None:
    found = read_image(encode(lesion))
    assert np.array_equal(found.pixels, lesion)
    assert found.pixels.dtype == np.uint8
    assert (found.format, found.notices) == ("PNG", ())


@pytest.mark.parametrize("kind", ["JPEG", "WebP", "BMP", "TIFF", "HEIC", "AVIF"])
def test_other_formats_are_read_closely(kind: str, lesion: np.ndarray) -> None:
    plugin = "HEIF" if kind == "HEIC" else kind.upper()
    found = read_image(saved(lesion, plugin, quality=95))
    assert found.format == kind
    assert np.abs(found.pixels.astype(int) - lesion).mean() < 4


@pytest.mark.parametrize("options", [{"progressive": True}, {"quality": 90, "subsampling": 0}])
def test_jpeg_variants(options: dict, lesion: np.ndarray) -> None:
    found = read_image(saved(Image.fromarray(lesion), "JPEG", **options))
    assert np.abs(found.pixels.astype(int) - lesion).mean() < 6


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_undone(orientation: int, lesion: np.ndarray) -> None:
    # How a camera stores an upright picture under each orientation (EXIF 2.32, 4.6.4 A).
    stored = {
        1: lesion,
        2: lesion[:, ::-1],
        3: lesion[::-1, ::-1],
        4: lesion[::-1],
        5: lesion.swapaxes(0, 1),
        6: np.rot90(lesion, 1),
        7: lesion[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(lesion, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = saved(Image.fromarray(np.ascontiguousarray(stored)), "PNG", exif=exif.tobytes())
    assert np.array_equal(read_image(data).pixels, lesion)


def test_damaged_exif_does_not_cost_the_picture(lesion: np.ndarray) -> None:
    data = saved(Image.fromarray(lesion), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f")
    assert read_image(data).pixels.shape == lesion.shape


def test_grey_and_bilevel_become_rgb(lesion: np.ndarray) -> None:
    grey = Image.fromarray(lesion).convert("L")
    found = read_image(saved(grey, "PNG")).pixels
    assert np.array_equal(found, np.repeat(np.asarray(grey)[..., None], 3, -1))
    assert set(np.unique(read_image(saved(grey.convert("1"), "PNG")).pixels)) == {0, 255}


def test_16_bit_grey_is_scaled_not_clipped(lesion: np.ndarray) -> None:
    values = (lesion[..., 0].astype(np.uint16) << 8) | 0x7F
    found = read_image(saved(Image.fromarray(values), "PNG"))
    assert np.array_equal(found.pixels, np.repeat(lesion[..., :1], 3, -1))
    assert "16-bit" in found.notices[0]


def test_16_bit_colour_keeps_the_high_bytes(lesion: np.ndarray) -> None:
    import cv2

    values = (lesion[..., ::-1].astype(np.uint16) << 8) | 0x7F
    found = read_image(cv2.imencode(".png", values)[1].tobytes()).pixels
    assert np.abs(found.astype(int) - lesion).max() <= 1


def test_cmyk_has_the_colours_of_the_rgb_it_came_from(lesion: np.ndarray) -> None:
    found = read_image(saved(Image.fromarray(lesion).convert("CMYK"), "JPEG", quality=98)).pixels
    assert np.abs(found.astype(int) - lesion).mean() < 6


def test_transparency_shows_white_and_is_told(lesion: np.ndarray) -> None:
    alpha = np.full(lesion.shape[:2], 255, np.uint8)
    alpha[:20] = 0
    found = read_image(saved(Image.fromarray(np.dstack([lesion, alpha])), "PNG"))
    assert (found.pixels[:20] == BACKGROUND).all()
    assert np.array_equal(found.pixels[20:], lesion[20:])
    assert "transparent" in found.notices[0]
    opaque = read_image(saved(Image.fromarray(lesion).convert("RGBA"), "PNG"))
    assert np.array_equal(opaque.pixels, lesion)
    assert opaque.notices == ()


def test_palette_with_transparency(lesion: np.ndarray) -> None:
    palette = Image.fromarray(lesion).quantize(16)
    plain = read_image(saved(palette, "PNG")).pixels
    assert np.array_equal(plain, np.asarray(palette.convert("RGB")))
    clear = np.asarray(palette) == 3
    found = read_image(saved(palette, "PNG", transparency=3)).pixels
    assert (found[clear] == 255).all()
    assert np.array_equal(found[~clear], plain[~clear])


def test_an_animation_gives_its_first_picture_and_says_so(lesion: np.ndarray) -> None:
    frames = [Image.fromarray(lesion), Image.fromarray(255 - lesion)]
    found = read_image(saved(frames[0], "PNG", save_all=True, append_images=frames[1:]))
    assert np.array_equal(found.pixels, lesion)
    assert "2 pictures" in found.notices[0]


def test_the_main_picture_of_several_is_shown_and_named(lesion: np.ndarray) -> None:
    import pillow_heif

    file = pillow_heif.from_pillow(Image.fromarray(255 - lesion))
    file.add_from_pillow(Image.fromarray(lesion))
    written = BytesIO()
    file.save(written, quality=95, primary_index=1)
    found = read_image(written.getvalue())
    assert np.abs(found.pixels.astype(int) - lesion).mean() < 4
    told = "The file holds 2 pictures; number 2, which the file calls its main one, is used."
    assert found.notices == (told,)


def test_a_colour_profile_is_converted_to_srgb(lesion: np.ndarray) -> None:
    image = Image.fromarray(lesion)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB"))
    assert np.array_equal(read_image(saved(image, "PNG", icc_profile=srgb.tobytes())).pixels, lesion)
    found = read_image(saved(image, "PNG", icc_profile=b"no profile"))
    assert np.array_equal(found.pixels, lesion)
    assert "colour profile" in found.notices[0]
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()  # fits no RGB image
    assert np.array_equal(read_image(saved(image, "PNG", icc_profile=lab)).pixels, lesion)


def test_a_squeezed_copy_is_stretched(lesion: np.ndarray) -> None:
    square = Image.fromarray(lesion).resize((90, 90))
    stretched = read_image(saved(square, "PNG"), stored_aspect="4:3")
    assert (stretched.pixels.shape, stretched.notices) == ((90, 120, 3), ())


def test_only_a_square_is_stretched_and_others_get_a_sentence(lesion: np.ndarray) -> None:
    for image in (lesion, np.ascontiguousarray(np.rot90(lesion))):
        found = read_image(encode(image), stored_aspect="4:3")
        assert np.array_equal(found.pixels, image)
        assert "no square" in found.notices[0]


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "empty"),
        (b"hello", "be read: it does not begin like any known image"),
        (b"%PDF-1.7\n", "be read: it is a PDF document. "),
        (b"PK\x03\x04rest", "ZIP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"  <!doctype HTML><p>", "web page"),
        (b"GIF89a" + bytes(20), "GIF"),
        (b"\0\0\0\x18ftypavif" + bytes(20), "AVIF image is damaged"),
        (b"\0\0\0\x18ftypheic" + bytes(20), "HEIC image is damaged"),
        (bytes(128) + b"DICM" + bytes(20), "no picture"),
        (b"\x89PNG\r\n\x1a\n", "damaged"),
        (png_of_size(100, 100), "damaged or cut off"),
        (png_of_size(20000, 20000), "pixels"),
        (png_of_size(2**31 - 1, 2**31 - 1), "pixels"),
        (png_of_size(10000, 1), "10000 x 1 pixels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_readable_image_is_refused_with_a_sentence(data: bytes, told: str) -> None:
    with pytest.raises(ImageError, match=told) as refusal:
        read_image(data)
    assert str(refusal.value).endswith(".")


def test_a_truncated_file_is_refused_at_every_length(lesion: np.ndarray) -> None:
    for data in (encode(lesion), encode(lesion, ".jpg"), saved(Image.fromarray(lesion), "BMP")):
        for length in range(1, len(data) - 200, max(1, len(data) // 40)):
            with pytest.raises(ImageError):
                read_image(data[:length])


def test_limits_are_checked_before_decoding(lesion: np.ndarray) -> None:
    data = encode(lesion)
    with pytest.raises(ImageError, match="larger than"):
        read_image(data, limits=Limits(bytes=len(data) - 1))
    with pytest.raises(ImageError, match="120 x 90 pixels; at most"):
        read_image(data, limits=Limits(pixels=120 * 90 - 1))
    assert read_image(data, limits=Limits(bytes=len(data), pixels=120 * 90)).pixels.shape == lesion.shape
    square = encode(np.zeros((600, 600, 3), np.uint8))  # 4:3 makes it 800 wide
    with pytest.raises(ImageError, match="pixels"):
        read_image(square, stored_aspect="4:3", limits=Limits(pixels=600 * 799))


def test_read_file_takes_the_content_whatever_the_name(tmp_path: Path, lesion: np.ndarray) -> None:
    (tmp_path / "a.jpg").write_bytes(encode(lesion))
    assert read_file(tmp_path / "a.jpg").format == "PNG"
    with pytest.raises(ImageError, match="No such file"):
        read_file(tmp_path / "b.jpg")
    with pytest.raises(ImageError):
        read_file(tmp_path)


def test_without_the_decoder_of_heic_a_file_is_refused_with_what_to_do(tmp_path: Path) -> None:
    heic, jpeg = tmp_path / "a.heic", tmp_path / "a.jpg"
    heic.write_bytes(saved(picture(), "HEIF"))
    jpeg.write_bytes(saved(picture(), "JPEG"))
    program = (
        "import sys; sys.modules['pillow_heif'] = None\n"
        "from pathlib import Path\n"
        "from dermlens.errors import ImageError\n"
        "from dermlens.ingest.formats import LISTED\n"
        "from dermlens.ingest.read import read_file\n"
        "assert 'HEIC' not in LISTED and 'AVIF' in LISTED\n"
        f"print(read_file(Path({str(jpeg)!r})).pixels.shape)\n"
        "try:\n"
        f"    read_file(Path({str(heic)!r}))\n"
        "except ImageError as e:\n"
        "    print(e)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, cwd=Path(__file__).parents[2], check=True
    )
    assert done.stdout.splitlines() == [str(picture().shape), NO_HEIC]

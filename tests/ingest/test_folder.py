import io
import os
import socket
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset

from dermlens.errors import DataError, ImageError
from dermlens.ingest.folder import find_images
from dermlens.ingest.read import read_file, read_image
from tests.conftest import encode
from tests.image_files import dicom, dicom_jpeg, picture


def without_head(file: bytes, implicit: bool) -> bytes:
    """Return a DICOM file as a mere data set, as some archives keep it: neither preamble nor group 0002."""
    data = pydicom.dcmread(io.BytesIO(file))
    del data.file_meta
    out = DicomBytesIO()
    out.is_little_endian, out.is_implicit_VR = True, implicit
    write_dataset(out, data)
    return out.getvalue()


@pytest.mark.parametrize("implicit", [True, False])
def test_dicom_without_a_head_is_read(implicit: bool) -> None:
    pixels = picture()
    found = read_image(without_head(dicom(pixels), implicit))
    assert found.format == "DICOM"
    np.testing.assert_array_equal(found.pixels, pixels)


def test_dicom_without_a_preamble_is_read_by_the_syntax_that_it_names() -> None:
    file = dicom_jpeg(picture())
    found, whole = read_image(file[132:]), read_image(file)
    assert found.format == "DICOM"
    np.testing.assert_array_equal(found.pixels, whole.pixels)


def test_images_are_found_by_suffix_or_content(tmp_path: Path) -> None:
    lesion = encode(picture())
    files = {
        "a.JPG": b"whatever it holds: that it cannot be read is said",
        "b/1.2.840.113619.2.5": dicom(picture()),
        "b/IM0001": without_head(dicom(picture()), implicit=True),
        "b/c/export.dat": dicom(picture())[132:],
        "b/c/photo": lesion,
        "b/c/photo.orig": lesion,  # a copy that a program left
        "b/.d.png": lesion,
        "BMW.txt": b"BM is how a BMP begins",
        "notes": b"text",
        "empty": b"",
    }
    for name, data in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    found = find_images(tmp_path)
    assert found.images == ["a.JPG", "b/1.2.840.113619.2.5", "b/IM0001", "b/c/export.dat", "b/c/photo"]
    assert found.passed_over == "5 other files"


def test_masks_and_superpixels_of_an_isic_folder_are_passed_over_and_counted(tmp_path: Path) -> None:
    for name in ("", "_segmentation", "_superpixels", "_attribute_pigment_network"):
        (tmp_path / f"ISIC_0000001{name}.png").write_bytes(encode(picture()))
    (tmp_path / "lesion_segmentation.png").write_bytes(encode(picture()))
    found = find_images(tmp_path)
    assert found.images == ["ISIC_0000001.png", "lesion_segmentation.png"], "only what ISIC names so"
    assert (found.annotations, found.others) == (3, 0)
    assert found.passed_over == "0 other files, 3 ISIC masks or superpixels"


def test_links_are_walked_without_loops(tmp_path: Path) -> None:
    images, elsewhere = tmp_path / "images", tmp_path / "elsewhere"
    (images / "below").mkdir(parents=True)
    (elsewhere / "deep").mkdir(parents=True)
    (images / "below" / "a.png").write_bytes(b"")
    (elsewhere / "deep" / "b.png").write_bytes(b"")
    (images / "0_again").symlink_to(images / "below")  # comes first by its name, and yet the folder itself is read
    (images / "below" / "up").symlink_to(images)
    (images / "out").symlink_to(elsewhere)
    (elsewhere / "deep" / "back").symlink_to(elsewhere)
    (images / "c.png").symlink_to(images / "below" / "a.png")
    (images / "gone.png").symlink_to(images / "nowhere")
    found = find_images(images)
    assert found.images == ["below/a.png", "c.png", "gone.png", "out/deep/b.png"]
    assert found.repeated == 3
    assert "3 links to folders read already" in found.passed_over
    with pytest.raises(ImageError, match="No such file"):
        read_file(images / "gone.png")


def test_a_folder_without_images_says_what_it_holds(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(DataError, match="holds no image; passed over: 1 other file"):
        find_images(tmp_path)
    with pytest.raises(DataError, match="is not a folder"):
        find_images(tmp_path / "a.txt")


def test_a_link_that_leads_to_itself_or_through_a_file_stops_nothing(tmp_path: Path) -> None:
    for name, target in (
        ("self.jpg", "self.jpg"),
        ("loop", "loop"),
        ("through.png", "z.jpg/a"),
        ("long.png", "y" * 300),
        ("through", "z.jpg/a"),
    ):
        (tmp_path / name).symlink_to(target)
    (tmp_path / "z.jpg").write_bytes(encode(picture(), ".jpg"))
    found = find_images(tmp_path)
    assert found.images == ["long.png", "self.jpg", "through.png", "z.jpg"]
    assert found.others == 2
    with pytest.raises(ImageError, match="Too many levels"):
        read_file(tmp_path / "self.jpg")


def test_a_socket_and_a_path_with_nul_are_no_files(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(tmp_path / "x.jpg"))
    assert find_images(tmp_path).images == ["x.jpg"]
    with pytest.raises(ImageError, match="no regular file"):
        read_file(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="NUL"):
        read_file(tmp_path / "a\0b.jpg")


def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    (tmp_path / "y.jpg").mkdir()
    (tmp_path / "z.jpg").write_bytes(encode(picture(), ".jpg"))
    assert find_images(tmp_path).images == ["x.jpg", "z.jpg"]
    with pytest.raises(ImageError, match="no regular file"):
        read_file(tmp_path / "x.jpg")
    with pytest.raises(ImageError, match="Is a directory"):
        read_file(tmp_path / "y.jpg")
    assert read_file(tmp_path / "z.jpg").pixels.shape == (90, 120, 3)


def test_a_pipe_without_a_suffix_is_no_image_and_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "z.jpg").write_bytes(b"")
    assert find_images(tmp_path).others == 1

"""Files that were once read or refused wrongly, beside the checkout in ../shared/cases; skipped where they are not."""

from pathlib import Path

import numpy as np
import pytest

from dermlens.errors import ImageError
from dermlens.ingest.read import read_file

FOLDER = Path(__file__).parents[3] / "shared" / "cases"
COLOUR, LARGE, GREY = (189.7, 146.8, 126.5), (192.2, 148.2, 128), (157.2, 157.2, 157.2)
"""Mean red, green and blue of the one drawn picture: small, large, and in grey."""
LIGHT, LARGE_LIGHT, LIGHT_GREY = (221.2, 196.8, 183.8), (223.1, 198.1, 185), (203.4, 203.4, 203.4)
"""The same where the stored values mean linear light."""
SHOWN = {  # means, and part of the only notice
    "avif_with_brand_mif1.heif": (COLOUR, ""),
    "bigtiff_big_endian_rgb8.tif": (LARGE, ""),
    "bmp32_v5_alpha_all_zero.bmp": (COLOUR, ""),
    "dicom_grey12_highbit15.dcm": (GREY, "more than 8 bits"),
    "dicom_grey_modality_lut_inverse.dcm": (GREY, ""),
    "dicom_grey_rescale_empty.dcm": (GREY, ""),
    "dicom_grey_voi_lut_sequence_inverse.dcm": (GREY, ""),
    "dicom_grey_window_empty.dcm": (GREY, ""),
    "dicom_jpeg2000_planarconfiguration_1.dcm": (COLOUR, ""),
    "dicom_jpeg_planarconfiguration_1.dcm": (COLOUR, ""),
    "dicom_jpeg_rgb_component_ids_RGB.dcm": (COLOUR, ""),
    "dicom_jpeg_ycbcr_labelled_rgb_no_marker.dcm": ((157.2, 110.5, 151.2), "they look like YCbCr"),
    "dicom_palette_8bit_values_in_16bit_table.dcm": (COLOUR, "they were read as 8"),
    "dicom_with_tiff_preamble.dcm": (COLOUR, ""),
    "heic_brand_mif2.heic": (COLOUR, ""),
    "heic_nclx_bt2020_pq.heic": (COLOUR, ""),  # neither a box nor its data name any colours
    "jpeg_arithmetic_over_64k_intact.jpg": (LARGE, ""),
    "jpeg_complete_but_no_end_marker.jpg": (COLOUR, "no end marker"),
    "jpeg_grey_with_srgb_profile.jpg": ((159, 159, 159), "for colour pictures, not for grey pictures"),
    "jpeg_linear_profile_named_srgb.jpg": (LARGE_LIGHT, ""),
    "jpeg_xmp_orientation6_upright_pixels.jpg": (COLOUR, "Only the XMP data"),
    "png_cICP_display_p3.png": ((197.6, 144.7, 122.4), ""),
    "png_gAMA_1.0.png": (LIGHT, ""),
    "png_grey16_with_linear_grey_profile.png": (LIGHT_GREY, "16-bit grey"),
    "png_grey_alpha_with_linear_grey_profile.png": (LIGHT_GREY, ""),
    "png_grey_with_rgb_profile.png": (GREY, "for colour pictures, not for grey pictures"),
    "portrait_3to4_for_stored_aspect_4to3.png": (LARGE, "no square"),
    "tiff_reduced_page_first.tif": (COLOUR, "number 2"),
    "tiff_rgb16_planar_uncompressed.tif": (LARGE, ""),
    "whole.jpg": (LARGE, ""),
}
REFUSED = {
    "dicom_jpegxl_syntax_110.dcm": "compressed as JPEG XL Lossless",
    "dicom_losslessjpeg_second_half_zero.dcm": "damaged or cut off",
    "jpeg_12bit_intact.jpg": "a JPEG image of 12 bits a channel",
    "jpeg_4096_bytes_lost_in_the_middle.jpg": "damaged or cut off",
    "jpeg_cut_at_half_with_end_marker.jpg": "damaged or cut off",
    "jpegls_intact.jls": "a JPEG-LS image",
    "tiff_rgb_float32.tif": "floating-point",
    "tiff_webp_compressed.tif": "compressed as WebP",
    "webp_256_zero_bytes_in_the_middle.webp": "damaged or cut off",
}
pytestmark = [pytest.mark.realdata, pytest.mark.skipif(not FOLDER.is_dir(), reason="no ../shared/cases")]


@pytest.mark.parametrize("name", SHOWN)
def test_what_was_read_wrongly_is_read_right(name: str) -> None:
    mean, notice = SHOWN[name]
    aspect = "4:3" if name.startswith("portrait") else "as-is"
    found = read_file(FOLDER / name, stored_aspect=aspect)
    assert np.abs(found.pixels.mean((0, 1)) - mean).max() < 1
    assert len(found.notices) == bool(notice)
    assert notice in "".join(found.notices)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_a_true_sentence(name: str) -> None:
    with pytest.raises(ImageError, match=REFUSED[name]):
        read_file(FOLDER / name)

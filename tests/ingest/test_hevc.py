import pytest

from dermlens.ingest.decoders.heif import hevc
from dermlens.ingest.decoders.heif.heic import _pictures
from tests.image_files import picture, saved

P3 = {"color_primaries": 12, "transfer_characteristics": 13}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chroma": 444},
        {"tile_size": 64},
        {"enc_params": {"x265:scaling-list": "default"}},
        {"enc_params": {"x265:sao": "0", "x265:wpp": "0", "x265:amp": "1"}},
    ],
)
def test_the_colours_that_an_encoder_wrote_are_found(options: dict) -> None:
    (units, *_) = _pictures(saved(picture(), "HEIF", **P3, **options))
    assert hevc.colours(units) == (12, 13)


def test_a_parameter_set_cut_anywhere_is_not_understood() -> None:
    (units, *_) = _pictures(saved(picture(), "HEIF", **P3))
    sps = next(unit for unit in units if unit[0] >> 1 == 33)
    for length in range(len(sps)):
        assert hevc.colours([sps[:length]]) in (None, hevc.UNNAMED, (12, 13))
    assert hevc.colours([]) is None

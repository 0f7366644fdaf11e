"""How the pictures of independent programs differ from ours, and why."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache

import numpy as np

from dermlens.ingest.formats import LIMITS, READ, format_of
from dermlens.ingest.read import read_image
from tests.corpus.case import Case
from tests.corpus.corpus import corpus
from tests.decoders.programs import KINDS, decode

MOST_PIXELS = 4_000_000
EXACT, LOSSY = (1.0, 3), (1.0, 12)
"""Mean and largest difference, of 255, of the same picture: of lossless kinds, and of those that decoders round."""
SAME, EXPLAINED, NOT_READ, DIFFERS = "same", "explained", "not read", "DIFFERS"
_NO_NCLX = ("* of Display P3*", "heeds no colours that are named by numbers (nclx, cICP) or in cHRM")
_FIRST_PAGE = ("tiff whose first page is *", "shows the first page, which is a reduced copy or a mask")
_RANGE = ("png of*narrow range*", "heeds no range in cICP")
_ADOBE_RGB = tuple((f"* of Adobe RGB by {how}", "takes no colours from EXIF") for how in ("R03", "its number"))
_PARTS = "applies a profile whose parts do not fit together"
_TIFF_SAYS = ("tiff of JPEG of * said to be *", "goes by what TIFF says of the colours, whatever the JPEG says")
_EMPTY = ("bmp whose alpha is all zero", "takes a fourth byte that writers leave empty for transparency")
EXPLANATIONS = {
    "ImageMagick": (
        ("PNG of orientation *", "heeds EXIF neither in PNG nor in WebP (version 6)"),
        ("WEBP of orientation *", "heeds EXIF neither in PNG nor in WebP (version 6)"),
        *(
            (f"{kind}*", "has its library halve the resolution of colours (4:2:0)")
            for kind in ("heic 4", "lossless heic")
        ),
        ("avif 4:4:4", "has its library halve the resolution of colours (4:2:0)"),
        ("heic with alpha", "drops the alpha of HEIF"),
        ("avif with alpha", "drops the alpha of HEIF"),
        ("dicom jpeg, MONOCHROME1", "shows stored values, whatever DICOM says of them"),
        ("dicom jpeg 2000 rgb of 6 bits", "does not spread values of fewer than 8 bits"),
        ("dicom jpeg of high pixels", "shows stored pixels as squares"),
        ("dicom jpeg* with a profile of the file", "heeds no profile of a DICOM file, only that of the JPEG inside"),
        ("dicom jpeg of orientation 6", "turns DICOM by the EXIF data of the JPEG inside; here a notice says so"),
        ("dicom jpeg 2000 of YCbCr*", "goes by the JPEG alone, whatever DICOM says of it"),
        ("dicom jpeg of YCbCr* said to be RGB", "goes by the JPEG alone, whatever DICOM says of it"),
        ("dicom jpeg in fragments", "reads the first fragment only"),
        ("tiff in L[*]a[*]b[*]", "colours L*a*b* more strongly than libvips and we do"),
        ("tiff of YCbCr 4:2:0*", "mixes up the order of YCbCr 4:2:0 that is no JPEG"),
        (
            "tiff of YCbCr 4:4:4 that does not say so",
            "takes it for 4:2:0, as its lack of a tag says, though it has more data",
        ),
        ("tiff of old-style jpeg*", "takes the RGB that libtiff makes of it for YCbCr"),
        ("bmp of 444*", "puts zeros below channels of four bits, so that the brightest is 240"),
        ("*jpeg with parts of a profile*", _PARTS),
        ("dicom * of 8 bits said to be 12*", "goes by the JPEG alone, whatever DICOM says of it"),
        ("dicom * of 16 bits with values of 12", "goes by the JPEG alone, whatever DICOM says of it"),
        ("dicom jpeg 2000 said to be signed", "goes by the JPEG alone, whatever DICOM says of it"),
        ("dicom of all greys, with a profile*", "heeds no profile of a DICOM file, only that of the JPEG inside"),
        _TIFF_SAYS,
        _FIRST_PAGE,
        _RANGE,
        _NO_NCLX,
        *_ADOBE_RGB,
        _EMPTY,
    ),
    "libvips": (
        (
            "tiff of JPEG in a tile that ends with the picture",
            "takes a tile that is narrower than it says for torn rows",
        ),
        ("tiff of all greys, with a profile of linear light", "rounds the darkest greys of a linear profile"),
        ("*cmyk*", "takes CMYK without a profile for that of its own one"),
        ("*CMYK*", "takes CMYK without a profile for that of its own one"),
        ("tiff in L[*]a[*]b[*]", "takes the white of L*a*b* for D65"),
        ("no profile for a profile", "puts another profile in the place of one that is not usable"),
        ("profile of another colour space", "puts another profile in the place of one that is not usable"),
        ("grey with a profile of RGB", "puts another profile in the place of one that is not usable"),
        ("tiff jpeg with parts of a profile twice", "puts another profile in the place of one that is not usable"),
        ("png with a profile that *", "puts another profile in the place of one that is not usable"),
        ("jpeg with parts of a profile*", _PARTS),
        ("png with gAMA of linear light", "does not heed gAMA"),
        ("png of all greys*, with gAMA of linear light", "does not heed gAMA"),
        _TIFF_SAYS,
        ("tiff of YCbCr 4:4:4*", "takes YCbCr that is no JPEG for RGB"),
        _FIRST_PAGE,
        _RANGE,
        _NO_NCLX,
        *_ADOBE_RGB,
    ),
    "libheif": (_NO_NCLX,),
    "dcmtk": (
        ("dicom of single bits", "shows the bit 1 as half of white"),
        ("dicom lossless jpeg of 8 bits said to be 12", "goes by the bits of the JPEG; here a notice says so"),
        ("dicom with a profile", "applies no colour profiles"),
        ("dicom jpeg with a profile*", "applies no colour profiles"),
        ("dicom jpeg of Adobe RGB, with a profile of the file", "applies no colour profiles"),
        ("dicom with the profile of an optical path", "applies no colour profiles"),
        ("dicom of all greys, with a profile*", "applies no colour profiles"),
        ("dicom ybr 4:2:2 with a colour for each pixel*", "takes two pixels for sharing a colour, as the file says"),
        ("dicom with a window in * groups", "looks for a window outside functional groups only"),
        ("dicom jpeg, YCbCr by * said to be RGB", "goes by what DICOM says of the colours, whatever the JPEG says"),
        (
            "dicom ybr of 6 bits",
            "takes 31.5 of 63 for the middle of differences of colour, which is 32 as it is 128 of 255",
        ),
        ("dicom* of high pixels*", "shows stored pixels as squares unless it is to change the size too"),
        ("dicom* of wide pixels*", "shows stored pixels as squares unless it is to change the size too"),
        ("dicom jpeg, RGB by * said to be YBR*", "goes by what DICOM says of the colours, whatever the JPEG says"),
        ("dicom palette of 8 bits in 16", "shows it black, as the file says"),
    ),
    "Chromium": (
        ("WEBP of orientation *", "does not heed EXIF in WebP"),
        *_ADOBE_RGB,
        ("profile of another colour space", "applies a profile that does not fit"),
        ("grey with a profile of RGB", "applies a profile that does not fit"),
        ("png with cICP of PQ*", "maps high brightness to the screen; here a notice says that this is not done"),
        ("AVIF of*is shown*", "shows all that is stored"),
        _RANGE,
        ("avif of PQ, named*", "maps high brightness to the screen; here a notice says that this is not done"),
        ("AVIF of PQ", "maps high brightness to the screen; here a notice says that this is not done"),
        ("png with cHRM of Display P3", "heeds no cHRM without gAMA"),
        ("jpeg with parts of a profile twice as the only one", _PARTS),
        ("jpeg with* end marker", "leaves the last rows grey"),
        ("bmp in rle8 with *", "leaves transparent what BMP leaves out"),
        ("bmp in rle8 that ends early", "leaves transparent what BMP leaves out"),
        _EMPTY,
    ),
}
"""By program: names of cases, and why it shows them in another way."""


@dataclass(frozen=True)
class Comparison:
    """One file, as a program shows it and as we do."""

    program: str
    case: str
    kind: str
    verdict: str
    mean: float | None = None
    """of the absolute difference, of 255; None if there is nothing to compare"""
    most: int | None = None
    turned: bool = False
    """whether the two would be more alike if one were turned or mirrored"""
    why: str = ""


def cases() -> list[Case]:
    """Return the whole files of the corpus that are read, none twice."""
    found = {
        case.data: case
        for case in corpus()
        if case.pixels is not None
        and case.pixels.size <= 3 * MOST_PIXELS
        and case.limits == LIMITS
        and "as if a part were lost" not in case.says
        and format_of(case.data) in READ
    }
    return list(found.values())


def compare(program: str, chosen: Collection[Case]) -> Iterator[Comparison]:
    """Yield how a program shows those of the cases that it is asked for."""
    asked = {case.name: case for case in chosen if format_of(case.data) in KINDS[program]}
    theirs = decode(program, {name: case.data for name, case in asked.items()})
    for name, case in asked.items():
        kind = str(format_of(case.data))
        if name not in theirs:
            yield Comparison(program, name, kind, NOT_READ)
        else:
            yield judged(program, name, kind, case.within, _ours(case.data), theirs[name])


@cache
def _ours(data: bytes) -> np.ndarray:
    return read_image(data).pixels


def judged(program: str, name: str, kind: str, within: float, ours: np.ndarray, theirs: np.ndarray) -> Comparison:
    """Return the verdict on two pictures, (height, width, 3) uint8, of a case.

    Args:
        program: which shows `theirs`.
        name: of the case.
        kind: its format.
        within: over 1 for a lossy one.
        ours: as read here.
        theirs: as shown by the program.
    """
    differences = {turn: _difference(ours, seen) for turn, seen in _turns(theirs)}
    turned = min(differences, key=lambda turn: differences[turn][0]) != "as it is"
    mean, most = differences["as it is"]
    mean_allowed, most_allowed = LOSSY if within > 1 else EXACT
    verdict, why = SAME, ""
    if not (mean <= mean_allowed and most <= most_allowed):
        why = next((why for names, why in EXPLANATIONS[program] if fnmatchcase(name, names)), "")
        verdict = EXPLAINED if why else DIFFERS
    same_size = ours.shape == theirs.shape
    return Comparison(
        program, name, kind, verdict, mean if same_size else None, int(most) if same_size else None, turned, why
    )


def _difference(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, float]:
    if ours.shape != theirs.shape:
        return float("inf"), float("inf")
    apart = np.abs(ours.astype(int) - theirs)
    return float(apart.mean()), float(apart.max())


def _turns(picture: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    yield "as it is", picture
    for quarter in range(4):
        for mirrored in (False, True):
            if quarter or mirrored:
                seen = np.rot90(picture, quarter)
                yield f"{quarter}{mirrored}", seen[:, ::-1] if mirrored else seen


def table(found: Collection[Comparison]) -> str:
    """Return a Markdown table of a line a file, its explanations, and a table of a line a program and format."""
    programs = [program for program in KINDS if any(c.program == program for c in found)]
    lines = [f"| format | file | {' | '.join(programs)} |", "| --- | --- |" + " --- |" * len(programs)]
    notes: dict[str, int] = {}
    by_case = {(c.case, c.program): c for c in found}
    for kind, name in dict.fromkeys((c.kind, c.case) for c in found):
        cells = [_cell(by_case.get((name, program)), notes) for program in programs]
        lines.append(f"| {kind} | {name} | {' | '.join(cells)} |")
    lines += ["", *(f"({number}) {why}." for why, number in notes.items()), ""]
    lines += [
        "| program | format | " + " | ".join((SAME, EXPLAINED, NOT_READ, DIFFERS)) + " |",
        "| --- | --- |" + " ---: |" * 4,
    ]
    for program, kind in dict.fromkeys((c.program, c.kind) for c in found):
        verdicts = [c.verdict for c in found if (c.program, c.kind) == (program, kind)]
        counts = [str(verdicts.count(verdict)) for verdict in (SAME, EXPLAINED, NOT_READ, DIFFERS)]
        lines.append(f"| {program} | {kind} | {' | '.join(counts)} |")
    return "\n".join(lines)


def _cell(c: Comparison | None, notes: dict[str, int]) -> str:
    if c is None:
        return ""
    if c.verdict == NOT_READ:
        return NOT_READ
    told = "other size" if c.mean is None else f"{c.mean:.2f}, {c.most}"
    told += ", turned" if c.turned else ""
    if c.verdict == EXPLAINED:
        told += f" ({notes.setdefault(f'{c.program} {c.why}', len(notes) + 1)})"
    return f"{told} **{DIFFERS}**" if c.verdict == DIFFERS else told

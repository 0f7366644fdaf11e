"""Every file of the corpus gets the answer it must get: from the door, and a mixed lot of them on the page Predict."""

import csv
import logging
import re
import tomllib
from io import StringIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from streamlit.testing.v1 import AppTest

from dermlens.case.image import KEPT_SIDE, CaseImage, examine, shown_name
from dermlens.errors import ImageError
from dermlens.files.tables import plain_cell
from dermlens.ingest.formats import ACCEPTED, IMAGE_SUFFIXES, LIMITS, LISTED, format_of
from dermlens.ingest.read import read_image
from dermlens.models.model import Model
from tests.corpus.case import NAMES, Case
from tests.corpus.corpus import corpus, truncations
from tests.dashboard import check, open_page, text
from tests.image_files import PLAIN, dicom, dicom_jpeg, picture, samples, saved
from ui.predict.intake import SHOWN_REFUSALS

ON_PAGE = (  # of every kind of answer some; 1 MB together
    *("empty", "text", "svg", "pdf", "html", "gif", "film", "jpeg and html", "png with html inside", "pdf and jpeg"),
    *("1 x 1", "1 x 10000", "png header 20000 x 20000", "webp canvas 20000 x 20000", "png bomb over the limit"),
    *("noise that begins like a JPEG", "noise that begins like a HEIC", "only the beginning of a TIFF"),
    *("cmyk jpeg", "heic", "16-bit grey png", "png with alpha", "JPEG of orientation 6", "TIFF of several pictures"),
    *("tiff whose directory leads to itself", "nan tiff", "camera raw", "no profile for a profile"),
    *("dicom monochrome1", "dicom palette", "dicom jpeg-ls", "dicom with hostile tags", "dicom without pixels"),
    *("dicom in a syntax without a decoder", "constant, and as small as can be", "dicom around another size"),
)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    found = corpus()
    named = {case.name: case for case in found}
    assert len(named) == len(found)
    return named


def same(found: np.ndarray, wanted: np.ndarray, within: float) -> bool:
    if not within:
        return np.array_equal(found, wanted)
    return found.shape == wanted.shape and bool(np.abs(found.astype(int) - wanted).mean() <= within)


def test_every_case_gets_its_answer(cases: dict[str, Case]) -> None:
    wrong = []
    for case in cases.values():
        try:
            found = read_image(case.data, limits=case.limits)
        except ImageError as e:
            if case.pixels is not None or case.says not in str(e) or not str(e).endswith("."):
                wrong.append((case.name, str(e)))
            continue
        told = " ".join(found.notices)
        if case.pixels is None or not same(found.pixels, case.pixels, case.within):
            wrong.append((case.name, "other pixels"))
        elif case.says not in told or bool(case.says) != bool(told):
            wrong.append((case.name, told))
        assert found.pixels.dtype == np.uint8
    assert wrong == []


def test_a_file_cut_off_is_refused_or_shows_all_that_the_whole_one_shows() -> None:
    refused = 0
    for kind, whole, beginnings in truncations():
        complete = read_image(whole).pixels
        for data in beginnings:
            try:
                shown = read_image(data).pixels
            except ImageError:
                refused += 1
                continue
            assert np.array_equal(shown, complete), f"{kind}: {len(data)} of {len(whole)} bytes show another picture"
    assert refused > 300


def test_every_accepted_format_is_known_by_its_content() -> None:
    made = samples(picture())
    assert tuple(made) == ACCEPTED
    for kind, files in made.items():
        assert {format_of(data) for data in files} == {kind}
        assert f".{kind.lower()}" in IMAGE_SUFFIXES or kind == "DICOM"


def test_the_readme_and_the_uploader_tell_of_the_same_formats_and_limits() -> None:
    root = Path(__file__).parents[2]
    readme = " ".join((root / "README.md").read_text().split())
    most = f"up to {LIMITS.bytes / 2**20:.0f} MiB and {LIMITS.pixels / 1e6:.0f} million pixels"
    assert f"{LISTED} are read, recognised by their content, {most}" in readme
    config = tomllib.loads((root / ".streamlit" / "config.toml").read_text())
    assert config["server"]["maxUploadSize"] * 2**20 == LIMITS.bytes


def test_nothing_about_a_person_comes_out_of_a_file(
    capfd: pytest.CaptureFixture, caplog: pytest.LogCaptureFixture, spot: Model
) -> None:
    caplog.set_level(logging.DEBUG)
    exif = Image.Exif()
    exif[0x013B] = PLAIN["PatientName"]  # the artist
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 12.0, 30.0), 29: PLAIN["PatientBirthDate"]})  # GPS
    shown = picture()
    files = [
        dicom(shown),
        dicom_jpeg(shown),
        dicom(shown, Rows=91),
        dicom(shown, "ARGB"),
        dicom(shown, PatientBirthDate="not a date"),
        *(saved(shown, kind, exif=exif.tobytes()) for kind in ("JPEG", "PNG", "WEBP", "HEIF")),
        saved(shown, "JPEG", exif=exif.tobytes())[:2000],
    ]
    capfd.readouterr()  # what making the files said
    caplog.clear()
    told = []
    for data in files:
        assert PLAIN["PatientName"].encode() in data
        try:
            image = examine(data, "x.dcm", [spot])
        except ImageError as e:
            told.append(str(e))
        else:
            told += [*image.notices, *image.failures.values(), image.name]
    written = capfd.readouterr()
    everything = "".join([*told, written.out, written.err, caplog.text])
    assert len(told) >= len(files)
    for secret in (*PLAIN.values(), "48.0"):
        assert secret not in everything


@given(st.text(alphabet=st.characters(codec=None), max_size=400), st.integers(10, 300))
def test_a_shown_name_is_one_short_printable_line(name: str, longest: int) -> None:
    shown = shown_name(name, longest)
    assert len(shown) <= longest
    assert shown.isprintable()
    shown.encode()
    assert shown_name(shown, longest) == shown
    if name.isprintable() and len(name) <= longest:
        assert shown == name


def test_a_space_of_another_kind_is_shown_as_a_space() -> None:
    said = "5\u00a0mm, fest\tdunkel \u3000Shot at 3.45\u202fPM\u202e\x07"
    assert shown_name(said) == "5 mm, fest dunkel  Shot at 3.45 PM??"


def test_on_the_page_every_file_gets_its_answer_and_every_name_stays_text(
    cases: dict[str, Case], pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    app = open_page("predict")
    chosen = [cases[name] for name in ON_PAGE]
    names = [name for name in NAMES if "\ud800" not in name]  # no browser sends half a pair
    good = [saved(picture(seed=20 + i), "PNG") for i in range(len(names))]
    bad = [f"no image {i}".encode() for i in range(len(names))]
    named = [(name, data) for both in (good, bad) for name, data in zip(names, both, strict=True)]
    uploads = [*((case.name, case.data) for case in chosen), *named]
    app.file_uploader[0].set_value([(name, data, "image/png") for name, data in uploads])
    check(app.run())

    images: dict[str, CaseImage] = app.session_state["case_images"]
    by_name = {image.name: image for image in images.values()}
    refusals = {p.name: p.sentence for p in app.session_state["case_refused"]}
    for case in chosen:
        if case.pixels is None:
            assert case.says in refusals[case.name]
        else:
            assert same(by_name[case.name].pixels, case.pixels, case.within), case.name
            assert set(by_name[case.name].answers) == {"toy", "toy2"}
    shown = {shown_name(name) for name in names}
    assert shown <= set(by_name)
    assert shown <= set(refusals)
    table = next(t.value for t in app.dataframe if "reason" in t.value)
    assert f"{len(refusals)} files could not be used." in text(app)
    assert set(table["file"]) == {plain_cell(name) for name in refusals}
    for name in set(names) - shown:
        assert name not in text(app)
    for start in range(0, len(names), SHOWN_REFUSALS):
        _refused_a_few_at_a_time(app, names[start : start + SHOWN_REFUSALS])


@pytest.mark.slow
def test_on_the_page_every_file_of_the_corpus_gets_its_answer(
    cases: dict[str, Case], pair: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DERMLENS_MODELS", str(pair))
    app = open_page("predict", patience=600)
    usual = [case for case in cases.values() if case.limits == LIMITS]
    assert len(usual) >= len(cases) - 5, "a page has the usual limits"
    wrong = []
    for case in usual:
        app.file_uploader[0].set_value([(case.name, case.data, "image/png")])
        check(app.run())
        images, refusals = app.session_state["case_images"], app.session_state["case_refused"]
        if case.pixels is None:
            right = not images and len(refusals) == 1 and case.says in refusals[0].sentence
        else:
            (image,) = images.values()
            right = not refusals and (image.height, image.width) == case.pixels.shape[:2]
            if max(image.height, image.width) <= KEPT_SIDE:  # of a larger one a smaller copy is kept
                right &= same(image.pixels, case.pixels, case.within)
            right &= all(notice.split()[0] in text(app) for notice in image.notices)
        wrong += [] if right else [case.name]
        if images:
            next(b for b in app.button if b.label == "New case").click().run()
        else:
            app.session_state["case_refused"].clear()
    assert wrong == []


def _refused_a_few_at_a_time(app: AppTest, names: list[str]) -> None:
    """Few refusals are written as Markdown: escaped, on one line, and short."""
    next(b for b in app.button if b.label == "New case").click().run()
    good = ("a.png", saved(picture(), "PNG"), "image/png")
    app.file_uploader[0].set_value([*((name, b"no image", "image/png") for name in names), good])
    check(app.run())
    assert len(app.error) == len(names)
    for written in app.error:
        line = str(written.value).split("**: ")[0]
        assert len(line) < 150
        assert line.isprintable()
        bare = re.sub(r"\\.", "", line.removeprefix("**"))  # without what is escaped
        assert not set(bare) & set("<>[]()*`$:_#&|"), line


def test_the_isic_table_of_hostile_names_is_one_row_a_file(pair: Path) -> None:
    from ui.predict.downloads import row_id

    out = StringIO()
    csv.writer(out).writerows([row_id(shown_name(name))] for name in NAMES)
    rows = list(csv.reader(StringIO(out.getvalue())))
    assert len([row for row in rows if row]) >= len(NAMES) - 1
    assert not any(cell[:1] in ("=", "+", "-", "@", "\t", "\r") for row in rows for cell in row)

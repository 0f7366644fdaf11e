import os
import re
import resource
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from dermlens.case.image import examine
from dermlens.case.opinion import form
from dermlens.errors import DermlensError
from dermlens.interchange import pdf
from dermlens.interchange.report import case_report
from dermlens.models.model import Model
from tests.conftest import encode
from tests.optional import need
from tests.processes import children

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def html(toy: Model, lesion: np.ndarray) -> str:
    need(pdf.available(), "no WeasyPrint or Pango found: `make orthanc` installs what the tests need")
    image = examine(encode(lesion), "Jane Doe.png", [toy])
    return case_report(image, form([toy], image.answers), NOW, who="Dr. Müller", notes="Рост, Δ 2 mm <b>no tag</b>")


def _poppler(program: str, *arguments: str) -> str:
    need(shutil.which(program) is not None, f"no {program} found: `make orthanc` installs it")
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("paper", "size"), [("A4", "595.276 x 841.89"), ("Letter", "612 x 792")])
def test_the_pdf_is_tagged_and_says_what_the_report_says(
    html: str, paper: pdf.Paper, size: str, tmp_path: Path
) -> None:
    data = pdf.make_pdf(html, paper)
    file = tmp_path / "report.pdf"
    file.write_bytes(data)
    told = _poppler("pdfinfo", str(file))
    assert "Tagged:          yes" in told
    assert f"Page size:       {size}" in told
    assert 'pdfuaid:part="1"' in _poppler("pdfinfo", "-meta", str(file))
    structure = _poppler("pdfinfo", "-struct-text", str(file))
    for tag in ("H1", "H2", "Table", "TH", "Figure"):
        assert re.search(rf"^\s*{tag}\b", structure, re.MULTILINE), tag
    text = " ".join(_poppler("pdftotext", "-layout", str(file), "-").split())
    for said in (
        "Dermlens case report",
        "Dr. Müller",
        "Рост, Δ 2 mm <b>no tag</b>",
        "All seven diagnoses",
        "Page 1 of",
    ):
        assert said in text
    assert "Jane" not in text
    fonts = _poppler("pdffonts", str(file)).splitlines()[2:]
    assert fonts
    assert all("Noto-Sans" in line and line.split()[-5] == "yes" for line in fonts), "shipped and embedded"
    assert len(_poppler("pdfimages", "-list", str(file)).splitlines()) == 2 + 2, "the picture and its heat map"


def test_what_the_report_points_at_is_not_fetched(html: str, tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("top secret")
    with pytest.raises(DermlensError, match="could not be made"):
        pdf.make_pdf(html.replace("</body>", f'<img src="{secret.as_uri()}" alt="x"></body>'))


def test_too_much_memory_or_time_is_a_sentence_and_leaves_no_process(html: str) -> None:
    before = set(children(os.getpid()))
    with pytest.raises(DermlensError, match="could not be made"):
        pdf.make_pdf(html, memory=64 << 20)
    with pytest.raises(DermlensError, match="could not be made"):
        pdf.make_pdf(html, seconds=0.2)
    assert set(children(os.getpid())) <= before
    assert pdf.make_pdf(html).startswith(b"%PDF-1.7"), "the next one is made"
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != 64 << 20


def test_without_weasyprint_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "available", lambda: False)
    with pytest.raises(DermlensError, match="make pdf"):
        pdf.make_pdf("<html></html>")

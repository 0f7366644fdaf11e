import re
from dataclasses import replace
from datetime import UTC, datetime
from html import escape

import numpy as np
import pytest

from dermlens.case.image import CaseImage, examine
from dermlens.case.opinion import form
from dermlens.case.summary import CANNOT_NAME, DISCLAIMER, called
from dermlens.image.quality import Quality
from dermlens.interchange.report import case_report
from dermlens.labels import CLASSES, NAMES
from dermlens.models.model import Model
from dermlens.trust.calibration import Calibration
from dermlens.trust.fitted import Fitted
from dermlens.trust.referral import Referral
from dermlens.wording import percent
from tests.conftest import encode

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)


@pytest.fixture
def image(toy: Model, lesion: np.ndarray) -> CaseImage:
    return examine(encode(lesion), "Jane Doe 1970-01-01.png", [toy])


def test_the_report_says_what_was_found_by_what_and_when(image: CaseImage, toy: Model) -> None:
    report = case_report(image, form([toy], image.answers, image.synthetic), NOW)
    answer = image.answers["toy"]
    assert f"<strong>{escape(NAMES[called(answer).code])}</strong>" in report
    assert "uncalibrated score" in report
    for code, share in zip(CLASSES, answer.probabilities, strict=True):
        assert f'<td>{escape(NAMES[code])}</td><td class="n">{escape(percent(float(share), 1))}</td>' in report
    for needed in (toy.name, toy.identity, image.sha256, "04 March 2026, 05:06 UTC", DISCLAIMER):
        assert needed in report
    assert CANNOT_NAME in report
    for group in ("Malignant, in total", "Pre-malignant, in total", "Benign, in total"):
        assert group in report


def test_the_report_is_self_contained_and_names_no_file(image: CaseImage, toy: Model) -> None:
    report = case_report(image, form([toy], image.answers, image.synthetic), NOW)
    assert "Jane Doe" not in report
    assert "<script" not in report
    assert not re.findall(r"(?:src|href)=\"(?!data:)", report)
    assert "://" not in re.sub(r"data:image/jpeg;base64,[A-Za-z0-9+/=]+", "", report)
    assert report.count("data:image/jpeg;base64,") == 2, "the image, and a map of each model"
    assert len(re.findall(r"<img [^>]*alt=\"[^\"]+\"", report)) == 2


def test_a_picture_below_every_limit_is_not_said_to_be_free_of_what_lies_over_the_skin(
    image: CaseImage, toy: Model
) -> None:
    some_hair = Quality(0.9, 180.0, 0.005, 450, 0.009, 5, 0.1, 0.1)  # and ink, five marks in a row and dark corners
    report = case_report(replace(image, quality=some_hair), form([toy], image.answers, image.synthetic), NOW)
    said = report.split("Picture quality</h2>")[1].split("</div>")[0]
    assert said == ("<p>No limit for sharpness, light, size, glare, hair, ink, ruler or dark corners was exceeded.</p>")


def test_a_drawing_is_marked_and_a_failure_told(lesion: np.ndarray, toy: Model) -> None:
    image = examine(encode(lesion), "a.png", [], synthetic=True)
    image.failures["toy"] = "<b>broken</b>"
    report = case_report(image, form([toy], image.answers, image.synthetic), NOW)
    assert "synthetic drawing" in report
    assert "No model has answered." in report
    assert "&lt;b&gt;broken&lt;/b&gt;" in report


def test_the_report_says_first_whether_to_refer_at_whatever_mix(image: CaseImage, toy: Model) -> None:
    limits = {"toy": {"melanoma": 0.0, "malignant": 1.0}}
    own = Referral({"toy": 0.95}, limits, 0.4, {})
    calibration = Calibration("temperature", (1.0,) * 7, (0.0,) * 7, (1, 1, 1, 1, 1, 4, 1))
    model = replace(toy, fitted=Fitted(calibration=calibration, referral=own))
    answers = {"toy": replace(image.answers["toy"], calibrated=True)}
    here = form([model], answers)
    there = here.at_mix(np.array([1.0, 1, 1, 1, 90, 1, 1]), "Said once.")
    reports = [case_report(image, opinion, NOW) for opinion in (here, there)]
    line = (
        '<strong class="verdict">Refer</strong><ul><li>Melanoma: Toy toy reaches its threshold for 95 % sensitivity '
        "(0.0 %).</li>"
    )
    for report in reports:
        assert report.index(line) < report.index("<h2>Diagnosis</h2>")
    assert reports[1].count("Said once.") == 1
    shown = percent(float(there.shown["toy"].probabilities[CLASSES.index("mel")]), 1)
    assert shown != percent(float(answers["toy"].probabilities[CLASSES.index("mel")]), 1)
    assert f'<td class="n">{shown}</td>' in reports[1]
    assert percent(float(answers["toy"].probabilities[CLASSES.index("mel")]), 1) not in reports[1]

"""A case as one self-contained file a person can print: no script, no link, nothing fetched from anywhere."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from html import escape

import cv2
import numpy as np

from dermlens.case.decision import decide
from dermlens.case.image import CaseImage, thumbnail
from dermlens.case.opinion import Opinion
from dermlens.case.summary import (
    CANNOT_NAME,
    DISCLAIMER,
    agreement,
    group_totals,
    quantity,
    share_called,
)
from dermlens.explain.grad_cam import heat_on_image, overlay
from dermlens.image.encode import data_uri
from dermlens.image.preprocess import visible_box
from dermlens.labels import CLASSES, DIAGNOSES, GROUP_TITLES, GROUPS, INDEX, NAMES, SHOWN
from dermlens.models.model import AnyModel, Ensemble
from dermlens.wording import percent

SIDE = 640
_STYLE = """
body { font: 11pt/1.45 system-ui, sans-serif; color: #111; background: #fff; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 17pt; margin: 0 0 .2rem; }
h2 { font-size: 12.5pt; margin: 1.4rem 0 .4rem; break-after: avoid; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2rem .6rem .2rem 0; vertical-align: top; }
thead th { border-bottom: 1.5px solid #111; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tbody tr { border-bottom: 1px solid #ccc; break-inside: avoid; }
tr.group td { font-weight: 600; }
figure { margin: 0; break-inside: avoid; }
figure img { width: 100%; display: block; }
figcaption { font-size: 9.5pt; margin-top: .25rem; }
.pictures { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: .8rem; }
.note { border: 1.5px solid #111; padding: .6rem .8rem; }
.fine { font-size: 9pt; color: #333; overflow-wrap: anywhere; }
"""


def case_report(image: CaseImage, opinion: Opinion, now: datetime, opacity: float = 0.6) -> str:
    """Write the report of one case.

    Args:
        image: the picture.
        opinion: of the models to report on; one without an answer is named with its reason.
        now: date and time to print.
        opacity: of the heat maps, 0..1.

    Returns:
        An HTML document. It holds no file name: a name may name a person.
    """
    answered = opinion.calling
    score = quantity({m.name: opinion.answers[m.id].calibrated for m in answered}) if answered else ""
    body = [
        "<h1>Dermlens case report</h1>",
        f"<p>{escape(now.strftime('%d %B %Y, %H:%M %Z').strip())}</p>",
        f'<p class="note"><strong>{escape(DISCLAIMER)}</strong> {escape(CANNOT_NAME)}</p>',
        "<p><strong>The image is a synthetic drawing; it shows no real lesion.</strong></p>" if image.synthetic else "",
        _doubts(image, [m for m in opinion.models if m.id in opinion.refused]),
        _decision(opinion),
        _answers(opinion, score),
        f"<p>{escape(opinion.class_mix)}</p>" if opinion.class_mix and answered else "",
        _pictures(image, opinion, opacity),
        _scores(opinion, score),
        _origin(image, opinion.models),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Dermlens case report {image.key}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>"
    )


def _doubts(image: CaseImage, refusing: Sequence[AnyModel]) -> str:
    """Say what speaks against believing the answers: models that do not know such images, and a poor picture."""
    lines = [
        f"<strong>{escape(model.name)} calls no diagnosis: the image does not look like the dermoscopic images that it "
        "learned from.</strong>"
        for model in refusing
    ]
    lines += [escape(f"{finding.text} {finding.advice}") for finding in image.quality.findings]
    return f'<p class="note">{"<br>".join(lines)}</p>' if lines else ""


def _decision(opinion: Opinion) -> str:
    """Say first whether to refer, by the rules over all models for diagnosis; nothing where there are none."""
    decision = decide(opinion)
    if decision is None:
        return ""
    said, by = escape(decision.sentence), escape(decision.model.name)
    return f"<h2>Refer or not</h2><p><strong>{said}</strong> By the rules of {by}.</p>"


def _answers(opinion: Opinion, score: str) -> str:
    if not opinion.calling:
        return f"<h2>Answer</h2><p>{'No diagnosis.' if opinion.answers else 'No model has answered.'}</p>"
    rows = []
    for model in opinion.calling:
        diagnosis = opinion.call(model)
        share = escape(percent(share_called(opinion.shown[model.id]), 1))
        rows.append(
            f"<tr><td>{escape(model.name)}</td><td><strong>{escape(NAMES[diagnosis.code])}</strong></td>"
            f'<td>{GROUP_TITLES[diagnosis.group]}</td><td class="n">{share}</td></tr>'
        )
    said = escape(agreement({m.name: opinion.shown[m.id] for m in opinion.voices}))
    return (
        f"<h2>Answer</h2><p>{said}</p><table><thead><tr><th>Model</th><th>Diagnosis</th><th>Group</th>"
        f'<th class="n">{escape(score.capitalize())}</th></tr></thead><tbody>{"".join(rows)}</tbody></table>'
    )


def _pictures(image: CaseImage, opinion: Opinion, opacity: float) -> str:
    small = thumbnail(image.pixels, SIDE)
    figures = [_figure(small, "The image as uploaded")]
    if not opinion.calling:
        return f'<h2>The image</h2><div class="pictures">{figures[0]}</div>'
    for model in opinion.calling:
        diagnosis = opinion.call(model)
        maps = opinion.answers[model.id].maps
        heat = heat_on_image(maps[INDEX[diagnosis.code]], small.shape[0], small.shape[1], model.geometry)
        drawn = _framed(overlay(small, heat, opacity), model)
        figures.append(_figure(drawn, f"{model.name}, for {diagnosis.name}; inside the frame: what it saw"))
    return (
        f'<h2>Where the models looked</h2><div class="pictures">{"".join(figures)}</div>'
        '<p class="fine">Grad-CAM of the diagnosis that each model gave. Bright areas raised its score. It shows where '
        "the model looked, not why, and not whether it was right.</p>"
    )


def _figure(pixels: np.ndarray, caption: str) -> str:
    text = escape(caption)
    return f'<figure><img src="{data_uri(pixels)}" alt="{text}"><figcaption>{text}</figcaption></figure>'


def _framed(pixels: np.ndarray, model: AnyModel) -> np.ndarray:
    box = visible_box(pixels.shape[0], pixels.shape[1], model.geometry)
    corners = (box.left, box.top), (box.left + box.width - 1, box.top + box.height - 1)
    return cv2.rectangle(np.ascontiguousarray(pixels), *corners, (255, 255, 255), 2)


def _scores(opinion: Opinion, score: str) -> str:
    if not opinion.calling:
        return ""
    head = "".join(f'<th class="n">{escape(m.name)}</th>' for m in opinion.calling)
    shares = [opinion.shown[m.id].probabilities for m in opinion.calling]
    rows = []
    for group in reversed(GROUPS):
        totals = "".join(f'<td class="n">{escape(percent(group_totals(p)[group], 1))}</td>' for p in shares)
        rows.append(f'<tr class="group"><td>{GROUP_TITLES[group]}, in total</td>{totals}</tr>')
        for i in (i for i in SHOWN if DIAGNOSES[i].group == group):
            cells = "".join(f'<td class="n">{escape(percent(float(p[i]), 1))}</td>' for p in shares)
            rows.append(f"<tr><td>{escape(NAMES[CLASSES[i]])}</td>{cells}</tr>")
    return (
        f"<h2>All seven diagnoses, {escape(score)}</h2><table><thead><tr><th>Diagnosis</th>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _origin(image: CaseImage, models: Sequence[AnyModel]) -> str:
    lines: Mapping[str, str] = {
        "Image": f"{image.width} x {image.height} pixels, SHA-256 {image.sha256}",
        **{f"Notice {i}": notice for i, notice in enumerate(image.notices, start=1)},
        **{
            m.name: f"model {m.id}, SHA-256 {m.identity}{_members(m)}"
            + (f"; no answer: {image.failures[m.id]}" if m.id in image.failures else "")
            for m in models
        },
    }
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in lines.items())
    return f'<h2>Origin</h2><table class="fine"><tbody>{rows}</tbody></table>'


def _members(model: AnyModel) -> str:
    if not isinstance(model, Ensemble):
        return ""
    parts = [f"{w:g} of {m.id}, SHA-256 {m.identity}" for m, w in zip(model.members, model.weights, strict=True)]
    return f", made of {' and '.join(parts)}"

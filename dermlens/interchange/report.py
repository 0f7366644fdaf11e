"""A case as one self-contained file a person can print: no script, no link, nothing fetched from anywhere."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from html import escape

import cv2
import numpy as np

from dermlens.case.decision import Decision, decide
from dermlens.case.image import CaseImage, thumbnail
from dermlens.case.opinion import Opinion
from dermlens.case.software import app_version
from dermlens.case.stability import Stability
from dermlens.case.stability import sentence as steadiness
from dermlens.case.summary import CANNOT_NAME, DISCLAIMER, agreement, group_totals, quantity, share_called
from dermlens.explain.grad_cam import heat_on_image, overlay
from dermlens.image.encode import data_uri
from dermlens.image.preprocess import visible_box
from dermlens.image.quality import WITHIN
from dermlens.labels import CLASSES, CONFIRMED, DIAGNOSES, GROUP_TITLES, GROUPS, INDEX, NAMES, SHOWN
from dermlens.models.model import AnyModel, Ensemble
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.trust.ood import Neighbour
from dermlens.trust.referral import what_is_missed
from dermlens.trust.referral_rules import RULES
from dermlens.trust.thresholds import CASE_SENSITIVITY, TARGETS
from dermlens.wording import percent, percent_with_interval, short_percent

SIDE = 640
_STYLE = """
@page { size: A4; margin: 15mm; }
body { font: 10.5pt/1.4 system-ui, sans-serif; color: #111; background: #fff; }
body { max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 16pt; margin: 0 0 .2rem; }
h2 { font-size: 12pt; margin: 1.2rem 0 .3rem; break-after: avoid; }
p { margin: .3rem 0; }
ul { margin: .2rem 0; padding-left: 1.2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .15rem .6rem .15rem 0; vertical-align: top; font-weight: normal; }
thead th { border-bottom: 1.5px solid #111; font-weight: 600; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
tbody tr { border-bottom: 1px solid #ccc; break-inside: avoid; }
tr.group td { font-weight: 600; }
figure { margin: 0; break-inside: avoid; }
figure img { width: 100%; display: block; }
figcaption { font-size: 9pt; margin-top: .25rem; }
.pictures { display: grid; grid-template-columns: repeat(4, 1fr); gap: .8rem; }
.decision { border: 2px solid #111; padding: .6rem .9rem; margin: .8rem 0; break-inside: avoid; }
.decision strong.verdict { font-size: 15pt; display: block; }
.fine { font-size: 8.5pt; color: #333; overflow-wrap: anywhere; }
.field { border: 1px solid #777; min-height: 9rem; padding: .4rem .6rem; }
.field { white-space: pre-wrap; overflow-wrap: anywhere; }
.field.filled { min-height: 0; }
.whole { break-inside: avoid; }
.origin td:first-child { white-space: nowrap; }
@media print { body { margin: 0; max-width: none; padding: 0; } }
@media (max-width: 40rem) { .pictures { grid-template-columns: 1fr; } }
"""


def case_report(
    image: CaseImage,
    opinion: Opinion,
    now: datetime,
    *,
    opacity: float = 0.6,
    mapped: Collection[str] | None = None,
    steady: Mapping[str, Stability] | None = None,
    similar: Mapping[str, Sequence[Neighbour]] | None = None,
    elsewhere: str = "",
    who: str = "",
    notes: str = "",
) -> str:
    """Write the report of one case: the decision first, then what stands behind it.

    Args:
        image: the picture.
        opinion: of the models to report on; one without an answer is named with its reason.
        now: date and time to print.
        opacity: of the heat maps, 0..1.
        mapped: ids of the models whose heat maps are shown; None for all.
        steady: model name -> how steady its answer was found to be; empty if that was not looked at.
        similar: model name -> the training cases that look most like the image to it, nearest first.
        elsewhere: what the rules for referral miss in other archives, in words; empty if that was not measured.
        who: who made the report, as they typed it; empty to leave that out.
        notes: as typed; empty for a field to write into.

    Returns:
        An HTML document. It holds no file name: a name may name a person.
    """
    calling = opinion.calling
    unit = quantity({m.name: opinion.answers[m.id].calibrated for m in calling}) if calling else ""
    body = [
        "<h1>Dermlens case report</h1>",
        f"<p>{escape(now.strftime('%d %B %Y, %H:%M %Z').strip())} · image {image.key}{_by(who)}</p>",
        f"<p><strong>{escape(DISCLAIMER)}</strong></p>",
        "<p><strong>The image is a synthetic drawing; it shows no real lesion.</strong></p>" if image.synthetic else "",
        _decision(opinion, decide(opinion), elsewhere),
        _answers(opinion, unit),
        _pictures(image, opinion, opacity, mapped),
        _scores(opinion, unit),
        _sets(opinion),
        _thresholds(opinion),
        _similar(similar or {}),
        _steady(opinion, steady or {}),
        _quality(image),
        _notes(notes),
        _origin(image, opinion.models),
        f'<p class="fine">{escape(CANNOT_NAME)}</p>',
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Dermlens case report {image.key}</title><style>{_STYLE}</style></head>"
        f"<body>{''.join(body)}</body></html>"
    )


def _decision(opinion: Opinion, decision: Decision | None, elsewhere: str) -> str:
    lines: list[str] = []
    if opinion.withheld:
        verdict = "No diagnosis"
        lines.append("The image does not look like the dermoscopic images that the models learned from.")
        lines.append("Take another picture, or refer.")
    elif decision is None:
        verdict = "No rules for referral"
        lines.append("No model here has rules for referral: decide without this report.")
    else:
        verdict = decision.verdict
        lines += [f"{reason[0].upper()}{reason[1:]}." for reason in decision.reasons] + list(decision.beside)
    said = "".join(f"<li>{escape(line)}</li>" for line in lines)
    caveat = ""
    if decision is not None and not opinion.withheld:
        applying = " ".join(rule.description for rule in RULES if decision.fired.get(rule.key)) or "none."
        all_clear = ""
        if not decision.refer:
            missed = f"{what_is_missed(decision.referral)} {elsewhere}".strip()
            all_clear = f"That is not an all-clear: {missed} "
        caveat = f'<p class="fine">{escape(all_clear)}Rules that apply: {escape(applying)}</p>'
    return f'<div class="decision"><strong class="verdict">{verdict}</strong><ul>{said}</ul>{caveat}</div>'


def _answers(opinion: Opinion, unit: str) -> str:
    if not opinion.calling:
        return "" if opinion.answers else "<h2>Diagnosis</h2><p>No model has answered.</p>"
    rows = []
    for model in opinion.asked:
        if model.id in opinion.refused:
            rows.append(
                f"<tr><td>{escape(model.name)}</td><td>calls nothing: unlike its images</td><td></td><td></td></tr>"
            )
            continue
        diagnosis = opinion.call(model)
        share = escape(percent(share_called(opinion.shown[model.id]), 1))
        rows.append(
            f"<tr><td>{escape(model.name)}</td><td><strong>{escape(NAMES[diagnosis.code])}</strong></td>"
            f'<td>{GROUP_TITLES[diagnosis.group]}</td><td class="n">{share}</td></tr>'
        )
    said = escape(agreement({m.name: opinion.shown[m.id] for m in opinion.voices}))
    mix = f'<p class="fine">{escape(opinion.class_mix)}</p>' if opinion.class_mix else ""
    return (
        f"<h2>Diagnosis</h2><p>{said}</p><table><thead><tr><th>Model</th><th>Diagnosis</th><th>Group</th>"
        f'<th class="n">{escape(unit.capitalize())}</th></tr></thead><tbody>{"".join(rows)}</tbody></table>{mix}'
    )


def _sets(opinion: Opinion) -> str:
    lines = []
    for model in opinion.calling:
        found = model.fitted.prediction_sets
        if found is not None:
            kept = found.sets(opinion.answers[model.id].probabilities)
            lines.append(f"<tr><td>{escape(model.name)}</td><td>{escape(found.sentence(kept))}</td></tr>")
    title = f"Not ruled out, {short_percent(CASE_LEVEL)} prediction sets"
    return f'<div class="whole"><h2>{title}</h2><table><tbody>{"".join(lines)}</tbody></table></div>' if lines else ""


def _thresholds(opinion: Opinion) -> str:
    rows = []
    for model in opinion.calling:
        found = model.fitted.thresholds
        for name, target in TARGETS.items() if found else ():
            assert found is not None
            point, probabilities = found.point(name), opinion.answers[model.id].probabilities
            split = "test" if "test" in point.measured else "validation"
            cells = (
                model.name,
                target.title,
                "above" if found.reached(name, probabilities) else "below",
                f"{percent_with_interval(point.measured[split].sensitivity)} on {split}",
            )
            rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>")
    if not rows:
        return ""
    return (
        f'<div class="whole"><h2>Thresholds for {short_percent(CASE_SENSITIVITY)} sensitivity</h2><table>'
        "<thead><tr><th>Model</th><th>For</th><th>This image</th><th>Images it found</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
        '<p class="fine">Below a threshold is not an all-clear: what it missed lies there too.</p></div>'
    )


def _steady(opinion: Opinion, steady: Mapping[str, Stability]) -> str:
    if not opinion.calling:
        return ""
    lines = [f"<li>{escape(steadiness(found, name))}</li>" for name, found in steady.items()]
    said = f"<ul>{''.join(lines)}</ul>" if lines else "<p>Not looked at when this report was made.</p>"
    return f'<div class="whole"><h2>Is the answer steady?</h2>{said}</div>'


def _quality(image: CaseImage) -> str:
    lines = [f"<li>{escape(f'{finding.text} {finding.advice}')}</li>" for finding in image.quality.findings]
    said = f"<ul>{''.join(lines)}</ul>" if lines else f"<p>{WITHIN}</p>"
    return f'<div class="whole"><h2>Picture quality</h2>{said}</div>'


def _by(who: str) -> str:
    return f" · made by {escape(who.strip())}" if who.strip() else ""


def _similar(similar: Mapping[str, Sequence[Neighbour]]) -> str:
    rows = []
    for model, cases in similar.items():
        for case in cases:
            confirmed = CONFIRMED.get(case.dx_type, "unknown means")
            cells = (model, NAMES[case.dx], confirmed, case.image_id)
            distance = f'<td class="n">{case.distance:.2f}</td>'
            rows.append(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}{distance}</tr>")
    if not rows:
        return ""
    return (
        '<div class="whole"><h2>Similar training cases</h2><table><thead><tr><th>To</th><th>Diagnosis</th>'
        '<th>Confirmed by</th><th>Image</th><th class="n">Distance</th></tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table>"
        '<p class="fine">They show what the model was taught on such pictures, and are no second opinion. Distance: '
        "0 is the same, 1 unrelated, 2 the opposite.</p></div>"
    )


def _notes(notes: str) -> str:
    """Return a field to type into before printing, or to write into after: the report holds no script."""
    if notes.strip():
        return f'<div class="whole"><h2>Notes</h2><div class="field filled">{escape(notes.strip())}</div></div>'
    field = '<div class="field" contenteditable="true" role="textbox" aria-multiline="true" aria-label="Notes"></div>'
    return f'<div class="whole"><h2>Notes</h2>{field}</div>'


def _pictures(image: CaseImage, opinion: Opinion, opacity: float, mapped: Collection[str] | None) -> str:
    small = thumbnail(image.pixels, SIDE)
    figures = [_figure(small, "The image as uploaded")]
    if not opinion.calling:
        return f'<h2>The image</h2><div class="pictures">{figures[0]}</div>'
    for model in opinion.calling:
        if mapped is not None and model.id not in mapped:
            continue
        diagnosis = opinion.call(model)
        maps = opinion.answers[model.id].maps
        heat = heat_on_image(maps[INDEX[diagnosis.code]], small.shape[0], small.shape[1], model.geometry)
        drawn = _framed(overlay(small, heat, opacity), model)
        figures.append(_figure(drawn, f"{model.name}, for {diagnosis.name}; inside the frame: what it saw"))
    return (
        f'<h2>Where the models looked</h2><div class="pictures">{"".join(figures)}</div>'
        '<p class="fine">Grad-CAM of the diagnosis that each model gave. Bright areas raised its probability. It shows '
        "where the model looked, not why, and not whether it was right.</p>"
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
        f'<div class="whole"><h2>All seven diagnoses, {escape(score)}</h2><table>'
        f"<thead><tr><th>Diagnosis</th>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _origin(image: CaseImage, models: Sequence[AnyModel]) -> str:
    lines: Mapping[str, str] = {
        "Software": f"Dermlens {app_version()}",
        "Image": f"{image.width} x {image.height} pixels, SHA-256 {image.sha256}",
        **{f"Notice {i}": notice for i, notice in enumerate(image.notices, start=1)},
        **{
            m.name: f"model {m.id}, SHA-256 {m.identity}{_members(m)}"
            + (f"; no answer: {image.failures[m.id]}" if m.id in image.failures else "")
            for m in models
        },
    }
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(v)}</td></tr>" for k, v in lines.items())
    return f'<div class="whole"><h2>Image and models</h2><table class="fine origin"><tbody>{rows}</tbody></table></div>'


def _members(model: AnyModel) -> str:
    if not isinstance(model, Ensemble):
        return ""
    parts = [f"{w:g} of {m.id}, SHA-256 {m.identity}" for m, w in zip(model.members, model.weights, strict=True)]
    return f", made of {' and '.join(parts)}"

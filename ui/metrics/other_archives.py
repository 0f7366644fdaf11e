"""What becomes of a model in another archive; part of the Metrics page."""

import numpy as np
import pandas as pd
import streamlit as st

from dermlens.charts.elsewhere import by_diagnosis
from dermlens.dataset.isic2019 import TEST_SETS, TITLES
from dermlens.estimate import Estimate
from dermlens.evaluation.class_mix import AT, EQUAL, HAM10000
from dermlens.evaluation.intervals import Summary
from dermlens.evaluation.other_archives import ABOUT, ALL, Carcinomas, OtherArchives
from dermlens.evaluation.predictions import Predictions
from dermlens.labels import CLASSES, DIAGNOSES, INDEX, MELANOMA, NAMES
from dermlens.models.registry import Entry
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.wording import (
    counted,
    interval,
    number_with_interval,
    percent,
    percent_with_interval,
    rests_on,
    short_percent,
)
from ui import cache, dataset, widgets

PICTURES = 8


def section(entry: Entry, everything: Predictions) -> None:
    """Show what a model does with the images of every other archive, beside what it does at home."""
    splits = [split for split in TEST_SETS if split in everything.splits]
    if not splits:
        widgets.nothing_here(
            f"{widgets.escape(entry.name)} was not asked about another archive.",
            widgets.advice(entry, f"Run `python -m training.external {entry.id} --external DIR`."),
        )
        return
    result = cache.on_other_archives(entry)
    if result is not None and result.value is None:
        widgets.nothing_here("What was fitted cannot be shown here.", widgets.escape(result.sentence, 400))
    found = result.value if result else None
    st.markdown(
        "Images that no network trained on, of archives other than HAM10000. Their class mix is another, so what "
        "counts is measured for calls at an equal mix of all seven diagnoses; means are over those that an archive "
        "has. Nothing was fitted on them."
    )
    home = "test" if "test" in everything.splits else "validation"
    summaries = {s: cache.summary(entry, (s,), everything.of_split(s)) for s in (*splits, home)}
    for split in splits:
        st.subheader(TITLES[split], anchor=False)
        overall = summaries[split].overall["accuracy"]
        images, lesions = counted(overall.n_images, "image"), counted(overall.n_lesions, "lesion")
        st.caption(f"{found.about(split) if found else ABOUT[split]} {images} of {lesions}.")
        _headline(summaries[split], found, split)
        _recall(summaries, home, split)
        _pictures(entry, everything.of_split(split))
    if found is not None:
        _fitted(found, splits)


def _headline(summary: Summary, found: OtherArchives | None, split: str) -> None:
    of_archive = found.archives.get(split) if found else None
    overall = summary.overall
    cells: list[tuple[str, str, Estimate | None]] = [
        ("AUC of melanoma", AT[HAM10000], summary.per_class["mel"]["auc"]),
        ("Balanced accuracy", AT[EQUAL], overall["balanced_accuracy"]),
        ("Melanoma recall", AT[EQUAL], overall["melanoma_recall_equal"]),
    ]
    if of_archive:
        refused = of_archive.refused[ALL] if of_archive.refused else None
        cells += [("Refused", "as no dermoscopy", refused), ("Referred", "by the rules", of_archive.referred)]
    known = [(name, note, e) for name, note, e in cells if e is not None]
    grid = st.grid(len(known), min_column_width=150)
    for name, note, estimate in known:
        with grid.cell(), st.container(border=True, gap=None, height="stretch"):
            st.metric(name, percent(estimate.value, 1))
            st.caption(f"{note}  \n95 %: {interval(estimate)}")


def _recall(summaries: dict[str, Summary], home: str, split: str) -> None:
    present = [code for code in CLASSES if summaries[split].per_class[code]["recall_equal"].n_images]
    series = {
        name: {code: summaries[s].per_class[code]["recall_equal"] for code in present}
        for name, s in {TITLES[split]: split, f"HAM10000, {home}": home}.items()
    }
    _chart(series, f"Recall on {TITLES[split]} and at home", AT[EQUAL], f"recall-{split}")


def _chart(series: dict[str, dict[str, Estimate]], title: str, subtitle: str, name: str) -> None:
    def data() -> pd.DataFrame:
        return pd.DataFrame(
            {"images of": of, "class": code, **vars(e)} for of, found in series.items() for code, e in found.items()
        )

    widgets.chart(by_diagnosis(series, title, subtitle), f"{title}, by diagnosis with intervals", data, name)


def _pictures(entry: Entry, p: Predictions) -> None:
    """Show the melanomas that were called benign most confidently, where the images are at hand."""
    equal = p.at_equal_mix
    benign = [d.group == "benign" for d in DIAGNOSES]
    missed = np.flatnonzero((p.y_true == MELANOMA) & np.array(benign)[equal.y_pred])
    melanomas = int((p.y_true == MELANOMA).sum())
    st.markdown(f"**{len(missed)} of {melanomas} melanomas called benign** {AT[EQUAL]}, those that it refuses included")
    if not dataset.others_at_hand():
        st.caption("Set ISIC2019_DIR to the folder with the training set of ISIC 2019 to see them.")
        return
    surest = missed[np.argsort(-equal.probabilities[missed, equal.y_pred[missed]], kind="stable")][:PICTURES]
    grid = st.grid(4, min_column_width=130)
    for i in surest:
        pixels = dataset.pixels(str(p.image_id[i]))
        if pixels is not None:
            call = f"{NAMES[CLASSES[equal.y_pred[i]]]} {percent(float(equal.probabilities[i].max()))}"
            with grid.cell():
                st.image(pixels, width="stretch", alt=f"{p.image_id[i]}, melanoma, called {call}")
                st.caption(f"{p.image_id[i]}: {call}")


def _fitted(found: OtherArchives, splits: list[str]) -> None:
    """Show by diagnosis what refusal and prediction sets do, and what becomes of squamous cell carcinoma."""
    known = {TITLES[s]: found.archives[s] for s in splits if s in found.archives}
    st.subheader("Refusal and prediction sets", anchor=False)
    refused = {name: a.refused for name, a in known.items() if a.refused}
    covered = {name: a.covered for name, a in known.items() if a.covered}
    if refused:
        _chart(refused, "Refused as no dermoscopy", "lower is better: all of them are dermoscopic", "refused-elsewhere")
    if covered:
        title = f"True diagnosis in the {short_percent(CASE_LEVEL)} prediction set"
        _chart(covered, title, "promised for lesions like HAM10000's alone", "covered-elsewhere")
    rows = []
    for name, a in known.items():
        shares = {"Referred": a.referred, "Benign images referred": a.benign_referred}
        shares |= {f"{DIAGNOSES[INDEX[c]].name}: not referred".capitalize(): e for c, e in (a.missed or {}).items()}
        shares["Melanoma not refused: not referred"] = a.missed_answered
        shares["Melanoma not refused: called melanoma"] = a.called_answered
        rows += [
            {"Archive": name, "Of its images": what, "Share": percent_with_interval(e), "Images": e.n_images}
            for what, e in shares.items()
            if e is not None
        ]
    if rows:
        widgets.table(pd.DataFrame(rows), "What the rules for referral do")
    if found.carcinomas is not None:
        _carcinomas(found.carcinomas)


def _carcinomas(found: Carcinomas) -> None:
    st.subheader("Invasive squamous cell carcinoma", anchor=False)
    st.markdown(
        f"It is none of the seven diagnoses, so it gets a wrong name. Measured on all "
        f"{rests_on(found.suspect)} of BCN20000, which no network trained on."
    )
    _chart({"called": found.called}, "What squamous cell carcinoma is called", "share of its images", "scc-called")
    rows = {
        "Called malignant or pre-malignant": found.suspect,
        "Refused as no dermoscopy": found.refused,
        f"A malignant or pre-malignant diagnosis in the {short_percent(CASE_LEVEL)} set": found.suspect_in_set,
        "Referred": found.referred,
    }
    table = [{"": name, "Share": percent_with_interval(e)} for name, e in rows.items() if e is not None]
    if found.set_size is not None:
        table.append({"": "Diagnoses in the set", "Share": number_with_interval(found.set_size, 2)})
    widgets.table(pd.DataFrame(table), "What becomes of squamous cell carcinoma")

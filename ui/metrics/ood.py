"""How well a model tells other pictures from dermoscopic images; part of the Metrics page."""

import pandas as pd
import streamlit as st

from dermlens.charts import elsewhere as charts
from dermlens.labels import DIAGNOSES, INDEX, NAMES
from dermlens.models.registry import Entry
from dermlens.trust.fit_command import fit_command
from dermlens.trust.ood import JointOodDetector, Measured, OodDetector
from dermlens.trust.withholding import COMBINED, Withholding
from dermlens.wording import interval, percent, rests_on
from ui import cache, widgets

NO_WORD = "The absence of a warning proves nothing: an image may look familiar and still be answered wrongly."


def section(entry: Entry, split: str) -> None:
    """Show how well a model tells other pictures from dermoscopic images; part of the Metrics page."""
    found = cache.fitted(entry).ood
    if found is None:
        widgets.nothing_here(
            f"{entry.name} cannot say whether an image is like those it was trained on.",
            widgets.advice(entry, f"Run `{fit_command(entry.id, 'embeddings', pictures=True)}`."),
        )
        return
    measured = found.measured
    if split in measured.accepted:
        accepted = measured.accepted[split]
        st.metric(f"Dermoscopic images accepted, {split} split", percent(accepted.value, 1), width=400)
        st.caption(f"95 %: {interval(accepted)}; {rests_on(accepted)}.")
    if isinstance(found, OodDetector):
        names = {"mahalanobis": "Mahalanobis distance", "knn": "distance to the 10th nearest training image"}
        method = (
            f"Score: {names.get(found.method, 'energy of the logits')}. It was chosen on one half of the pictures "
            "below and is measured on the other half. "
        )
    else:
        names = {e.id: e.name for e in cache.entries()}
        rule = found.withholding
        method = (
            f"{rule.sentence(names)} The rule was chosen on one half of the pictures below and is measured on the "
            "other half. A network that refuses an image by its own limit is silent itself, and the others go on. "
            if rule
            else "The ensemble accepts an image if all of its members do. It is measured on one half of the pictures. "
        )
    limit = measured.accepted.get("validation")
    st.markdown(
        method
        + (
            f"Its limit was set on the validation images, of which it accepts {percent(limit.value, 1)}. "
            if limit and isinstance(found, OodDetector)
            else ""
        )
        + NO_WORD
    )

    def data() -> pd.DataFrame:
        return _table(measured)

    _by_diagnosis(entry, split)
    widgets.side_by_side(
        {
            "refused": (charts.refused(measured), "Share of other pictures refused, by kind"),
            "auroc": (charts.auroc(measured), "AUROC of other pictures against test images, by kind"),
        },
        data,
    )
    if isinstance(found, JointOodDetector) and found.withholding is not None:
        _trade_off(found.withholding)


def _trade_off(rule: Withholding) -> None:
    """Show what every rule that was tried withholds and refuses."""
    names = {e.id: f"{e.name} alone" for e in cache.entries()}
    named = {by: COMBINED.get(by) or names.get(by, by) for by in dict.fromkeys(p.by for p in rule.curve)}

    def data() -> pd.DataFrame:
        rows = []
        for p in rule.curve:
            counts = {f"withheld_{code}": n for code, (n, _) in p.withheld.items()}
            counts |= {f"images_{code}": of for code, (_, of) in p.withheld.items()}
            refused, photographs = p.photographs
            row = {"by": p.by, "limit": p.limit, **counts, "photographs_refused": refused, "photographs": photographs}
            rows.append({**row, "other_pictures_refused": p.others, "chosen": p == rule.chosen})
        return pd.DataFrame(rows)

    widgets.chart(
        charts.trade_off(rule, named),
        "Share of the other pictures refused against the largest share of a diagnosis withheld, for every rule tried",
        data,
        "withheld",
    )
    chosen = rule.chosen
    if chosen is None:
        return
    lost = ", ".join(f"{n} of {of} {DIAGNOSES[INDEX[code]].name}" for code, (n, of) in chosen.withheld.items())
    refused, photographs = chosen.photographs
    st.caption(
        f"The rule in use, the large mark, withholds {percent(chosen.share, 1)} of the validation images ({lost}) and "
        f"refuses {refused} of {photographs} photographs of the measuring half. Open marks miss at least one of these "
        "photographs."
    )


def _by_diagnosis(entry: Entry, split: str) -> None:
    refused = cache.refused_of(entry.folder, split)
    if not refused:
        return
    st.markdown(f"Dermoscopic images of the {split} split that the model refuses, by true diagnosis:")
    rows = [
        {"Diagnosis": NAMES[code], "Refused": percent(f.value), "95 %": interval(f, 0), "Images": f.n_images}
        for code, f in refused.items()
    ]
    widgets.table(pd.DataFrame(rows), "Share of images refused, by diagnosis")


def _table(measured: Measured) -> pd.DataFrame:
    rows = []
    for kind, refused in measured.refused.items():
        auroc = measured.auroc[kind]
        rows.append(
            {
                "kind": kind,
                "pictures": refused.n_images,
                "sources": refused.n_lesions,
                **{f"refused_{name}": getattr(refused, name) for name in ("value", "low", "high")},
                **{f"auroc_{name}": getattr(auroc, name) for name in ("value", "low", "high")},
            }
        )
    return pd.DataFrame(rows)

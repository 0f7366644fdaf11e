"""Home: what Dermlens does, which models there are, and what it must not be used for."""

import streamlit as st

from dermlens.evaluation.class_mix import WITHOUT
from dermlens.evaluation.metrics import IN_BRIEF, OVERALL
from dermlens.models.registry import Entry
from dermlens.wording import counted, interval, percent
from ui import cache, splits, widgets
from ui.pages import HOME, shown

PURPOSE = """
Upload a dermoscopic image and see what several networks make of it, where they looked, and whether they agree.
Compare the models on the same case or on thousands of cases, and see how often each of them was right, for every
diagnosis and every group of people. Metrics are measured on images that the networks did not train on.
"""
LIMITS = """
- **Not a medical device.** Nothing here may be used to decide on a person's care; see a clinician about any lesion that
  worries you.
- **Seven diagnoses only.** Squamous cell carcinoma, Spitz nevus and every other diagnosis cannot be named; such a
  lesion is given one of the seven names all the same.
- **Dermoscopic images only.** Nails, mucous membranes, photographs taken without a dermatoscope, and skin types that
  are rare in HAM10000 were not tested.
- **A benign answer is not an all-clear.** The models miss melanomas; the Metrics page says how many.
"""


def page() -> None:
    widgets.head(HOME)
    st.markdown(PURPOSE)
    ways = [way for way in shown() if way is not HOME]
    for row in (ways[:3], ways[3:]):
        cells = st.grid(len(row), min_column_width=220)
        for way in row:
            with cells.cell(), st.container(border=True, gap="xsmall", height="stretch"):
                st.page_link(way.path, label=f"**{way.title}**", icon=way.icon)
                st.caption(way.teaser)
    st.header("Models", anchor=False)
    models()
    st.header("What it must not be used for", anchor=False)
    st.markdown(LIMITS)
    for entry in [e for e in cache.entries() if not e.problem][:1]:
        if said := splits.found_elsewhere(entry.id):
            st.markdown(f"- **Other clinics are another matter.** {widgets.escape(entry.name)}: {said}")


def models() -> None:
    entries = [e for e in cache.entries() if not e.problem]
    _, problems = cache.models()
    if not entries:
        widgets.nothing_here(
            "No model is published yet.", "Train one and publish it: `python -m training.publish RUN ID`."
        )
    grid = st.grid(3, min_column_width=290)
    for entry in entries:
        with grid.cell(), st.container(border=True, gap="small", height="stretch", key=f"model-{entry.id}"):
            st.markdown(f"**{widgets.escape(entry.name)}**")
            headline(entry)
            if entry.has_predictions and cache.fitted(entry).calibration is None:
                st.caption(WITHOUT)
            if not entry.can_be_asked and cache.predictions(entry).value is not None:
                st.caption("Predictions only: it can be compared and measured, but not asked about an image.")
    widgets.problems(problems, "model" if len(problems) == 1 else "models")


def headline(entry: Entry) -> None:
    result = cache.headline(entry)
    if result.value is None:
        st.caption(result.sentence)
        return
    split = "test" if "test" in result.value else next(iter(result.value), None)
    if split is None or not set(IN_BRIEF) & set(result.value[split]):
        st.caption("Not measured yet.")
        return
    estimates = result.value[split]
    first, *others = (name for name in IN_BRIEF if name in estimates)
    st.metric(OVERALL[first].label, percent(estimates[first].value, 1))
    lines = [f"95 % interval {interval(estimates[first])}"]
    lines += [f"{OVERALL[n].label}: {OVERALL[n].text(estimates[n])}" for n in others]
    if referred := splits.benign_referred(entry, split):
        lines.append(f"Benign images that its rules refer: {referred}")
    rests_on = estimates[first]
    images, lesions = counted(rests_on.n_images, "image"), counted(rests_on.n_lesions, "lesion")
    lines.append(f"{split.capitalize()} split: {images} of {lesions}")
    if split == "test":
        lines.append(splits.FINAL)
    st.caption("  \n".join(lines))


page()

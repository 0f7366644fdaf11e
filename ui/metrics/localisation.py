"""Whether a model looks at the lesion: what is measured of it on test, and a word on a single map."""

import pandas as pd
import streamlit as st

from dermlens.charts import localisation as charts
from dermlens.estimate import Estimate
from dermlens.explain.localisation_results import METHODS, LocalisationResults, Where
from dermlens.models.registry import Entry
from dermlens.trust.fit_command import fit_command
from dermlens.wording import (
    counted,
    interval,
    joined,
    percent,
    percent_with_interval,
    points,
    points_interval,
    points_with_interval,
    rests_on,
)
from ui import cache, widgets

READING = (
    "A heat map can look right by accident: lesions lie in the middle of the picture, and a large one fills most of "
    "it. So each number is shown beside what a map would reach without looking at the image: the lesion's share "
    "of the area, the mean map of all images, the centre of the picture. Only what exceeds these says that the "
    "model looked at this lesion. The map is that of the diagnosis the model called; lesions are as outlined in "
    "HAM10000."
)
REMOVING = (
    "Does the answer rest on what the map marks? Pixels are taken away, hottest first, until only the mean colour is "
    "left; and they are put back, hottest first, onto a blurred picture. If the map is right, the probability of the "
    "called diagnosis falls early and comes back early: a smaller area under the first curve, and a larger one under "
    "the second, than in random order. Petsiuk et al., RISE, BMVC 2018."
)


def section(entry: Entry) -> None:
    """Show where a model looked in the test images, in numbers with intervals; part of the Metrics page."""
    result = cache.evidence(entry)
    if result.value is None:
        widgets.nothing_here(
            "Where this model looks has not been measured, so a heat map speaks for its own case only.",
            widgets.advice(entry, widgets.escape(result.sentence, 400)),
        )
        return
    found = result.value
    if "all" not in found.where:
        members = [e.name for e in cache.entries() if e.id in ((entry.card or {}).get("members") or {})]
        if members:
            st.caption(f"Measured on test for its networks: choose {joined(list(map(widgets.escape, members)))} above.")
        else:
            command = fit_command(entry.id, "attention", pictures=True)
            st.caption(f"Not measured on test. {widgets.advice(entry, f'Measure it with `{command}`.')}")
        _methods(found)
        return
    everything = found.where["all"]
    st.caption(
        "Measured on the test split, whatever split and filter are chosen above: "
        f"{rests_on(everything.energy)}; 95 % intervals over "
        "lesions. Final: not for choosing between models."
    )
    _headline(everything)
    st.markdown(READING)
    widgets.chart(charts.inside(found.where), _inside_alt(everything), lambda: _where_table(found), "heat-inside")
    widgets.chart(charts.pointing(found.where), _pointing_alt(everything), lambda: _where_table(found), "pointing")
    if found.removal:
        st.markdown(REMOVING)
        some = found.removal["all"].deletion
        st.caption(
            f"On {rests_on(some)}, as many of each diagnosis as there are, up to a "
            "limit: here a rare diagnosis weighs as much as a common one."
        )
        area = "Area under the {} curve by diagnosis, beside that in random order"
        widgets.side_by_side(
            {
                "deletion": (charts.deletion(found.removal), area.format("deletion")),
                "insertion": (charts.insertion(found.removal), area.format("insertion")),
            },
            lambda: _removal_table(found),
        )
    _methods(found)
    _warnings(found)


def _headline(found: Where) -> None:
    cells = st.grid(5, min_column_width=175)
    in_points = {"Beyond an even map": found.gain, "Beyond the mean map": found.usual_gain}
    estimates = {
        "Heat in the lesion": found.energy,
        **in_points,
        "Hottest point inside": found.hits,
        "Picture centre inside": found.centre,
    }
    for label, estimate in estimates.items():
        with cells.cell(), st.container(border=True, gap=None, height="stretch"):
            if label in in_points:
                st.metric(label, f"{points(estimate.value)} points")
                st.caption(f"95 %: {points_interval(estimate)}")
            else:
                st.metric(label, percent(estimate.value, 1))
                st.caption(f"95 %: {interval(estimate)}")


def _methods(found: LocalisationResults) -> None:
    if not found.methods:
        return
    measured = next(iter(found.methods.values()))[0].energy
    st.markdown(
        f"**Which methods are offered.** On {rests_on(measured)} of validation, "
        "as many of each diagnosis, every method is held against a blob in the middle of the picture that is as "
        "concentrated as its own map but made without looking. A method whose heat lies in the lesion less than the "
        "blob's does, with the whole 95 % interval of the difference below zero, is not offered for this model. The "
        "slower methods use one view of the image, Grad-CAM all of the model's views."
    )
    rows = [
        {
            "Method": METHODS[name],
            "Offered": "no" if where.worse else "yes",
            "Heat inside the lesion": percent_with_interval(where.energy),
            "Of such a blob": percent_with_interval(where.blob),
            "Difference (points)": points_with_interval(where.blob_gain),
            "Hottest point in the lesion": percent_with_interval(where.hits),
            "Deletion (lower is better)": percent_with_interval(removal.deletion),
            "Insertion (higher is better)": percent_with_interval(removal.insertion),
        }
        for name, (where, removal) in found.methods.items()
    ]
    st.dataframe(
        pd.DataFrame(rows),
        hide_index=True,
        alt="Every heat map method on the same images of validation, and whether it is offered",
    )


def _warnings(found: LocalisationResults) -> None:
    warned = found.warned
    text = (
        f"A map is reported as lying on the border or in a corner for **{percent(warned.share.value, 1)}** of the test "
        f"images ({interval(warned.share)})."
    )
    if warned.right_if_warned.n_images:
        text += (
            f" There the model is right on {percent(warned.right_if_warned.value)} "
            f"({interval(warned.right_if_warned)}, {counted(warned.right_if_warned.n_images, 'image')}), elsewhere on "
            f"{percent(warned.right_if_not.value)} "
            f"({interval(warned.right_if_not)})."
        )
    st.markdown(text)
    if found.where["all"].without:
        empty = found.where["all"].without
        was = "was" if empty == 1 else "were"
        st.caption(f"{counted(empty, 'map')} {was} empty: no evidence for the called diagnosis anywhere.")


def _inside_alt(found: Where) -> str:
    return (
        f"Share of the heat inside the lesion by diagnosis; over all images {percent(found.energy.value)}, where "
        f"lesions take {percent(found.area.value)} of the area"
    )


def _pointing_alt(found: Where) -> str:
    return (
        f"How often the hottest point is in the lesion, by diagnosis; over all images {percent(found.hits.value)}, the "
        f"centre of the picture {percent(found.centre.value)}"
    )


def _where_table(found: LocalisationResults) -> pd.DataFrame:
    names = ("energy", "area", "gain", "usual", "usual_gain", "hits", "centre")
    return pd.DataFrame([_row(group, {n: getattr(w, n) for n in names}) for group, w in found.where.items()])


def _removal_table(found: LocalisationResults) -> pd.DataFrame:
    return pd.DataFrame([_row(group, vars(removal)) for group, removal in found.removal.items()])


def _row(group: str, estimates: dict[str, Estimate]) -> dict[str, object]:
    row: dict[str, object] = {"group": group}
    for name, estimate in estimates.items():
        row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        row |= {f"{name}_images": estimate.n_images, f"{name}_lesions": estimate.n_lesions}
    return row

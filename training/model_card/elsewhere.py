"""The model card's sections on other lights and other archives, made from their files."""

from pathlib import Path

from dermlens.dataset.isic2019 import TEST_SETS, TITLES
from dermlens.errors import DataError
from dermlens.estimate import Estimate
from dermlens.evaluation import other_archives as archives
from dermlens.evaluation import other_lights as lights
from dermlens.evaluation.class_mix import AT, EQUAL, HAM10000
from dermlens.evaluation.metrics import ELSEWHERE, OVERALL, PER_CLASS
from dermlens.evaluation.other_archives import ABOUT, ALL, Carcinomas, OfArchive
from dermlens.files.documents import read_object
from dermlens.labels import CLASSES, DIAGNOSES, INDEX
from dermlens.models.card import read_card
from dermlens.trust.conformal import CASE_LEVEL
from dermlens.wording import (
    counted,
    number_with_interval,
    percent,
    percent_with_interval,
    points_with_interval,
    short_percent,
)


def other_lights(folder: Path) -> list[str]:
    """Return the section on other lights; empty if that is not measured, one sentence if it is out of date."""
    if not (folder / lights.FILE).is_file():
        return []
    title = ["## Under other lights", ""]
    try:
        found = lights.read(folder, read_card(folder))
    except DataError as e:
        return [*title, f"Left out: {e}", ""]
    return [
        *title,
        f"Balanced accuracy {AT[EQUAL]} on the {found.unchanged.n_images:,} validation images, each changed as another "
        f"dermatoscope, lamp or camera might ({_views(found.views)}): unchanged "
        f"{percent_with_interval(found.unchanged)}; lost on average over the {len(found.changes)} changes "
        f"**{points_with_interval(found.lost)}**. Paired: intervals draw the same lesions with and without a change.",
        "",
        "| change | | balanced accuracy | lost |",
        "| --- | --- | --- | --- |",
        *[
            f"| {c.change.name} | {c.change.values()} | {percent_with_interval(c.balanced_accuracy)} | "
            f"{points_with_interval(c.lost)} |"
            for c in found.changes
        ],
        "",
    ]


def _views(views: int) -> str:
    return "one view of each" if views == 1 else f"mean of {views} views of each"


def other_archives(folder: Path) -> list[str]:
    """Return the section on other archives; empty if the model was not asked about them."""
    metrics = read_object(folder / "metrics.json")
    measured = [split for split in TEST_SETS if split in metrics]
    if not measured:
        return []
    found = archives.read(folder) if (folder / archives.FILE).is_file() else None
    lines = [
        "## Another archive",
        "",
        "Images that no network trained on, of archives that are not HAM10000 (`data/splits/external.csv`). "
        f"{_seen(folder, measured)}{_measured(found)} Their class mix is not HAM10000's, so what counts is measured "
        "for calls at an equal mix of all seven diagnoses; means are over those that an archive has. Nothing was "
        "fitted on them.",
        "",
    ]
    for split in measured:
        own = metrics[split]
        overall = own["accuracy"]
        of_archive = found.archives.get(split) if found else None
        lines += [
            f"### {TITLES[split]}",
            "",
            f"{found.about(split) if found else ABOUT[split]} {overall['n_images']:,} images of "
            f"{overall['n_lesions']:,} lesions.",
            "",
            "| metric | measured | value |",
            "| --- | --- | --- |",
            f"| AUC of melanoma | {AT[HAM10000]} | {_stored(own['per_class']['mel']['auc'])} |",
            *[f"| {OVERALL[k].name} | {AT[OVERALL[k].mix]} | {_stored(own[k])} |" for k in ELSEWHERE],
            *_decided(of_archive),
            "",
            *_by_class(own["per_class"], of_archive),
            "",
        ]
    return [*lines, *(_carcinomas(found.carcinomas) if found and found.carcinomas else []), *_probe(folder)]


def _seen(folder: Path, splits: list[str]) -> str:
    """Say how often the test sets of other archives were predicted under this model's name."""
    card, run = read_object(folder / "card.json"), folder / "run.json"
    if card.get("members"):
        return "The answers are computed from those of the members, whose cards say how often they were asked."
    record = read_object(run) if run.is_file() else {}
    every = [n for n in record.get("external_evaluations", []) if set(n["splits"]) & set(splits)]
    earlier_runs = {earlier["id"] for earlier in record.get("earlier_runs", [])}
    notes = [n for n in every if n["run"] not in earlier_runs]
    behind = [n for n in every if n["run"] in earlier_runs] + [
        note
        for earlier in record.get("earlier_runs", [])
        for note in earlier.get("external_evaluations", [])
        if set(note["splits"]) & set(splits) and note not in notes
    ]
    behind = [note for i, note in enumerate(behind) if note not in behind[:i]]
    if not notes and not behind:
        return "How often this network was asked about them was not noted."
    asked = [n for n in notes if n["run"] == record.get("id")]
    before = [n for n in notes if n["run"] != record.get("id")]
    times = ", ".join(n["when"] for n in asked if n["when"])
    said = f"They were predicted {counted(len(asked), 'time')} with this network" + (f" ({times})" if times else "")
    further = {f"{counted(len(before), 'time')} with those published under its name before": bool(before)}
    further[f"{counted(len(behind), 'time')} with the networks that it continues from"] = bool(behind)
    return f"{', and '.join([said, *(words for words, is_so in further.items() if is_so)])}."


def _measured(found: archives.OtherArchives | None) -> str:
    """Say how often what was fitted was measured on them; nothing where that is not noted."""
    known = [when for when in found.measured if when] if found else []
    if found is None or not known:
        return ""
    more = "" if len(known) == len(found.measured) else ", and before such notes were kept"
    times = f"{counted(len(known), 'time')} ({', '.join(known)}{more})"
    return f" Refusal, prediction sets and rules for referral were measured on them {times}."


def _decided(found: OfArchive | None) -> list[str]:
    """Return the rows on what refusal, prediction sets and rules for referral do."""
    if found is None:
        return []
    rows = {
        "Refused as no dermoscopy": found.refused and found.refused[ALL],
        f"True diagnosis in the {short_percent(CASE_LEVEL)} set": found.covered and found.covered[ALL],
        "Referred": found.referred,
        "Benign images referred": found.benign_referred,
        **{f"{DIAGNOSES[INDEX[code]].name}: not referred": e for code, e in (found.missed or {}).items()},
        "Melanoma not refused: not referred": found.missed_answered,
        "Melanoma not refused: called melanoma": found.called_answered,
    }
    lines = [f"| {name} | as fitted | {percent_with_interval(e)} |" for name, e in rows.items() if e]
    size = found.set_size
    return lines + ([f"| Diagnoses in the set | as fitted | {number_with_interval(size, 2)} |"] if size else [])


def _by_class(per_class: dict, found: OfArchive | None) -> list[str]:
    refused, covered = (found.refused, found.covered) if found else (None, None)
    head = ["class", "images / lesions", PER_CLASS["recall_equal"].label, "AUC"]
    head += ["refused"] if refused else []
    head += ["in the set"] if covered else []
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for code in CLASSES:
        own = per_class[code]
        recall = own["recall_equal"]
        if not recall["n_images"]:
            continue
        cells = [code, f"{recall['n_images']} / {recall['n_lesions']}", _stored(recall), _stored(own["auc"])]
        cells += [percent_with_interval(part[code]) for part in (refused, covered) if part]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _carcinomas(found: Carcinomas) -> list[str]:
    called = sorted(found.called.items(), key=lambda item: -item[1].value)
    named = "; ".join(f"{code} {percent_with_interval(e)}" for code, e in called if e.value)
    rows = {
        "Called malignant or pre-malignant": found.suspect,
        "Refused as no dermoscopy": found.refused,
        f"A malignant or pre-malignant diagnosis in the {short_percent(CASE_LEVEL)} set": found.suspect_in_set,
        "Referred": found.referred,
    }
    size = found.set_size
    return [
        "### Invasive squamous cell carcinoma",
        "",
        f"It is none of the seven diagnoses, so it gets a wrong name. All {found.suspect.n_images} images "
        f"({found.suspect.n_lesions} lesions) of BCN20000, which no network trained on; called: {named}.",
        "",
        "| | share |",
        "| --- | --- |",
        *[f"| {name} | {percent_with_interval(e)} |" for name, e in rows.items() if e],
        *([f"| Diagnoses in the set | {number_with_interval(size, 2)} |"] if size else []),
        "",
    ]


def _probe(folder: Path) -> list[str]:
    if not (folder / archives.PROBE_FILE).is_file():
        return []
    stored = read_object(folder / archives.PROBE_FILE)
    told = Estimate.from_dict(stored["balanced_accuracy"])
    return [
        "A linear classifier on the embeddings of melanocytic nevi of validation tells the archives apart with a "
        f"balanced accuracy of {percent_with_interval(told)}, cross-fitted by lesion; "
        f"{percent(stored['chance'])} by chance.",
        "",
    ]


def _stored(stored: dict) -> str:
    return number_with_interval(Estimate.from_dict(stored))

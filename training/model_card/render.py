"""The model card of a published model as Markdown, made from its files; no figure of it is typed by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from dermlens.estimate import Estimate
from dermlens.evaluation.intervals import FEW_LESIONS
from dermlens.evaluation.metrics import CALIBRATION, OVERALL, PER_CLASS
from dermlens.explain import localisation_results
from dermlens.files.documents import read_object
from dermlens.labels import CLASSES, DIAGNOSES, SUSPECT
from dermlens.models.runs import best_row, flat, read_history
from dermlens.wording import number_with_interval, percent
from training.model_card.decisions import operating_points, prediction_sets, referral
from training.model_card.ood import ood

METHODS = {
    "temperature": "temperature scaling",
    "bias": "temperature scaling with a bias for every class",
    "vector": "vector scaling",
}
SPLIT_TEXT = {
    "validation": "The epoch, the settings and any calibration were chosen on this split, so these figures flatter the "
    "model.",
    "test": "Final: not for choosing between models.",
}


def render(folder: Path) -> str:
    """Return the model card of models/ID as Markdown, from its JSON files and history.csv."""
    card, metrics = read_object(folder / "card.json"), read_object(folder / "metrics.json")
    is_ensemble = "members" in card
    run = {} if is_ensemble else read_object(folder / "run.json")
    splits = [line for split in metrics for line in _split_section(split, metrics[split], run)]
    if "test" not in metrics:
        splits += ["### Test split", "", "Not measured: the test split has not been used with this model.", ""]
    calibrated = (folder / "calibration.json").is_file()
    lines = [
        f"# {card['name']}",
        "",
        f"Classifies a dermoscopic image of one skin lesion into the {len(CLASSES)} diagnoses of HAM10000. "
        "**A research model: not a medical device, not for diagnosing or treating anyone.**",
        "",
        "| | |",
        "| --- | --- |",
        *(_members(card) if is_ensemble else _network(card)),
        f"| Output | logits of {', '.join(CLASSES)}; "
        + ("`calibration.json` makes probabilities of them |" if calibrated else "their softmax is not calibrated |"),
        f"| Published | {card['created']} |"
        if is_ensemble
        else f"| Run | `{card['run']}`, published {card['created']} |",
        "",
        "## Intended use",
        "",
        "Research and teaching: to look at what a network sees in a dermoscopic image, and at how often it is right. "
        "It must not be used to decide on a patient, and its silence is not an all-clear.",
        "",
        "## What it can name",
        "",
        *[f"- `{d.code}`: {d.name} ({d.group})" for d in DIAGNOSES],
        "",
        "It always answers with one of these. **It cannot name squamous cell carcinoma, Spitz nevus or any other "
        "diagnosis**; such a lesion gets one of the seven names all the same.",
        "",
        "## What it was not tested on",
        "",
        "Nails, mucous membranes, palms and soles beyond the few in HAM10000, dark skin (its images come from Austria "
        "and Australia, and skin type is not recorded), children beyond the few in HAM10000, other cameras and "
        "dermatoscopes than those of HAM10000, photographs without a dermatoscope, and images of another clinic "
        "altogether.",
        "",
        "## Data",
        "",
        *(_members_data(card) if is_ensemble else _training_data(run)),
        "P. Tschandl, C. Rosendahl, H. Kittler, *The HAM10000 dataset, a large collection of multi-source "
        "dermatoscopic images of common pigmented skin lesions*, Scientific Data 5:180161 (2018), "
        "doi:10.1038/sdata.2018.161; data doi:10.7910/DVN/DBW86T, licence CC BY-NC 4.0. The weights, predictions and "
        "figures in this folder follow that licence (`models/LICENSE.md`).",
        "",
        "## Figures",
        "",
        "Of the published file through the serving path, so they are what a user of the app gets"
        + (": cross-entropy, AUC and average precision are of the calibrated probabilities" if calibrated else "")
        + ". In brackets 95 % intervals over lesions: bootstrap, or Wilson's at the effective sample size for "
        f"proportions of fewer than {FEW_LESIONS} lesions (`dermlens.evaluation.intervals`).",
        "",
        *splits,
        *[line for section in SECTIONS for line in section(folder)],
        *([] if is_ensemble else _recipe(folder, run)),
    ]
    return "\n".join(lines).rstrip("\n") + "\n"


def calibration(folder: Path) -> list[str]:
    """Return the section on calibration; empty if the model has none."""
    if not (folder / "calibration.json").is_file():
        return []
    fitted = read_object(folder / "calibration.json")
    crossed, mix = fitted["cross_fitted_nll"], fitted["class_mix"]
    losses = ", ".join(f"{METHODS[name]} {value:.3f}" for name, value in crossed.items())
    suspect = sum(mix[i] for i in SUSPECT) / sum(mix)
    lines = [
        "## Calibration",
        "",
        f"By {METHODS[fitted['method']]}, fitted on {fitted['fitted_on']['n_images']:,} validation images: the "
        "simplest of three methods that none clearly beats in cross-fitted cross-entropy "
        f"({losses}). The probabilities hold where {percent(suspect, 1)} are malignant or pre-malignant. Calibration "
        "changes no call, so the most probable diagnosis need not be the one called. Validation is measured "
        "cross-fitted by lesion. A perfect model would show the errors in the last column by chance.",
        "",
    ]
    for split, measured in fitted["measured"].items():
        lines += [
            f"| {split} | before | after | perfect model |",
            "| --- | --- | --- | --- |",
            *[
                f"| {metric.name} | {_text(measured['before'][key])} | {_text(measured['after'][key])} | "
                f"{_text(measured['by_chance'][key]) if key in measured['by_chance'] else ''} |"
                for key, metric in CALIBRATION.items()
            ],
            "",
        ]
    return lines


def attention(folder: Path) -> list[str]:
    """Return the section on where the model looked; empty if that is not measured."""
    if not (folder / localisation_results.FILE).is_file():
        return []
    found = localisation_results.summarise(localisation_results.read_attention(folder / localisation_results.FILE))
    names = {"all": "all", **dict.fromkeys(CLASSES), "right": "called right", "wrong": "called wrong"}
    columns = ("energy", "area", "usual", "hits", "centre")
    everything = found.where["all"]
    lines = [
        "## Where it looked",
        "",
        f"Grad-CAM of the called diagnosis on {everything.energy.n_images:,} test images and their lesion masks: the "
        "share of the heat inside the lesion, beside the lesion's share of the area and what the mean map of all "
        "images has inside; how often the hottest point is in the lesion, beside the centre of the picture. "
        f"{everything.without} maps were empty.",
        "",
        "| images | heat inside | area | mean map inside | hottest point inside | centre inside |",
        "| --- " * (1 + len(columns)) + "|",
        *[
            f"| {name or group} | "
            + " | ".join(number_with_interval(getattr(found.where[group], c)) for c in columns)
            + " |"
            for group, name in names.items()
            if group in found.where
        ],
        "",
    ]
    removal = found.removal.get("all")
    if removal:
        lines += [
            f"Deletion and insertion (RISE) on {removal.deletion.n_images} of these images, spread over the diagnoses: "
            f"area under the curve {number_with_interval(removal.deletion)} and "
            f"{number_with_interval(removal.insertion)}, in an order by chance "
            f"{number_with_interval(removal.random_deletion)} and "
            f"{number_with_interval(removal.random_insertion)}.",
            "",
        ]
    return lines


SECTIONS: tuple[Callable[[Path], list[str]], ...] = (
    calibration,
    prediction_sets,
    operating_points,
    ood,
    attention,
    referral,
)
"""What was fitted, in the order of training.fit: each returns its lines, none if the model lacks the file."""


def _network(card: dict[str, Any]) -> list[str]:
    side = card["input"]["size"]
    return [
        f"| Architecture | {card['architecture']}, {card['parameters']:,} parameters |",
        f"| Input | RGB, {side} × {side} pixels at true aspect; how an image is fitted is in `card.json` |",
        f"| Views | {card['views']}: an answer is the mean of the logits over these flips and turns |",
        *_adjustment(card),
    ]


def _adjustment(card: dict[str, Any]) -> list[str]:
    tau, weight = card.get("logit_adjustment"), card.get("melanoma_weight", 1)
    chosen = "chosen on validation (`training.adjustment`)"
    if "members" in card:
        chosen += ", on top of the members' own"
    lines = []
    if tau:
        lines.append(f"| Logit adjustment | {tau}: rare diagnoses are favoured by this factor, {chosen} |")
    if weight != 1:
        lines.append(f"| Melanoma weight | {weight:g}: a missed melanoma counts as so many other mistakes, {chosen} |")
    return lines


def _members(card: dict[str, Any]) -> list[str]:
    weights = ", ".join(f"`{name}` {weight:g}" for name, weight in card["members"].items())
    return [
        f"| Members | {weights}: the weights of their logits, fitted on validation (`training.ensemble`) |",
        *_adjustment(card),
        f"| Parameters | {card['parameters']:,} in all |",
        "| Heat map | the members' Grad-CAM, added with the same weights |",
    ]


def _members_data(card: dict[str, Any]) -> list[str]:
    links = ", ".join(f"[{name}](../{name}/README.md)" for name in card["members"])
    return [f"That of its members: {links}.", ""]


def _training_data(run: dict[str, Any]) -> list[str]:
    images = run["data"]["images"]
    return [
        f"Trained on {images['train']:,} images of HAM10000, tuned on {images['validation']:,}; all images of a "
        "lesion are in one split (`data/splits/ham10000.csv`). Some lesions were confirmed by histology, the others "
        f"by follow-up, consensus or confocal microscopy.{_left_out(run)}",
        "",
        *([run["note"], ""] if run.get("note") else []),
        *_images_line(run),
    ]


def _recipe(folder: Path, run: dict[str, Any]) -> list[str]:
    history = read_history(folder / "history.csv")
    best, hours = best_row(history), history["hours"].iloc[-1]
    # A run that goes on from a published model starts with no other weights.
    left_out = ("phases.", "weights") if run["config"].get("start") else ("phases.",)
    return [
        "## Recipe",
        "",
        f"{_epoch(run, best['epoch'], len(history))}, {run['measured_weights']} weights. {_end(run, len(history))}. "
        f"The epochs took {hours:.1f} hours on {_hardware(run)}{_ahead(run)}.",
        "",
        *_used_models(run),
        "| phase | epochs run | size | stages trained | learning rate | schedule |",
        "| --- | --- | --- | --- | --- | --- |",
        *[
            _phase_line(i, phase, int((history["phase"] == i).sum()))
            for i, phase in enumerate(run["config"]["phases"], start=1)
        ],
        "",
        "| setting | value |",
        "| --- | --- |",
        *[f"| {name} | {value} |" for name, value in flat(run["config"]).items() if not name.startswith(left_out)],
        "",
        *_missing_line(run),
        f"Code at commit `{run['git_commit']}`, Python {run['python']}, "
        + ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        + ".",
    ]


def _epoch(run: dict[str, Any], best: float, epochs: int) -> str:
    """Say which epoch's weights were published."""
    if run.get("published_last_epoch"):
        return f"The last epoch, {epochs} (epoch {best:.0f} has the highest balanced accuracy on validation)"
    return f"Best epoch {best:.0f} of {epochs} by balanced accuracy on validation"


def _split_section(split: str, measured: dict[str, Any], run: dict[str, Any]) -> list[str]:
    overall, per_class, confusion = measured["accuracy"], measured["per_class"], measured["confusion"]
    note = SPLIT_TEXT[split]
    if split == "test" and run:
        times = [t["when"] for t in run.get("test_evaluations", [])]
        note += f" This split was predicted {_times(len(times))} with this run"
        note += f" ({', '.join(times)})" if times else ""
        before = sum(len(earlier["test_evaluations"]) for earlier in run.get("earlier_runs", []))
        note += f", and {_times(before)} with the networks that it goes on from." if before else "."
    return [
        f"### {split.capitalize()} split",
        "",
        f"{overall['n_images']:,} images of {overall['n_lesions']:,} lesions. {note}",
        "",
        "| metric | value |",
        "| --- | --- |",
        *[f"| {metric.name} | {_text(measured[key])} |" for key, metric in OVERALL.items()],
        "",
        "| class | images / lesions | " + " | ".join(metric.name for metric in PER_CLASS.values()) + " |",
        "| --- " * (2 + len(PER_CLASS)) + "|",
        *[
            f"| {code} | {f['recall']['n_images']} / {f['recall']['n_lesions']} | "
            + " | ".join(_text(f[key]) for key in PER_CLASS)
            + " |"
            for code, f in per_class.items()
        ],
        "",
        "Images by true class (rows) and called class (columns):",
        "",
        "| true | " + " | ".join(CLASSES) + " |",
        "| --- " * (1 + len(CLASSES)) + "|",
        *[f"| {code} | " + " | ".join(map(str, row)) + " |" for code, row in zip(CLASSES, confusion, strict=True)],
        "",
    ]


def _times(count: int) -> str:
    return "1 time" if count == 1 else f"{count} times"


def _text(stored: dict[str, Any]) -> str:
    return number_with_interval(Estimate.from_dict(stored))


def _images_line(run: dict[str, Any]) -> list[str]:
    measured = run.get("published_from")
    if not measured:
        return []
    squeezed = "" if measured["stored_aspect"] == "as-is" else f", stored squeezed from {measured['stored_aspect']}"
    text = f"The images were {measured['width']} × {measured['height']} pixels at true aspect{squeezed}."
    return [text + " Sharper ones were not tested.", ""]


def _left_out(run: dict[str, Any]) -> str:
    code = run["config"]["leave_out"]
    return f" **No {code} was in its training or tuning images: it never learned to name it.**" if code else ""


def _missing_line(run: dict[str, Any]) -> list[str]:
    first = (run.get("earlier_runs") or [run])[0]
    layers = sorted({name.partition("/")[0] for name in first.get("weights_missing") or []})
    if not layers:
        return []
    where = "" if first is run else f" of `{first['id']}`"
    return [f"Not filled by the backbone's archive{where}, so trained from scratch: {', '.join(layers)}.", ""]


def _phase_line(number: int, phase: dict[str, Any], run: int) -> str:
    stages = {"all": "all", 0: "head"}.get(phase["unfreeze"], f"last {phase['unfreeze']} and head")
    epochs = f"{run} of {phase['epochs']}"
    cells = (number, epochs, phase["size"], stages, f"{phase['learning_rate']:g}", phase["schedule"])
    return f"| {' | '.join(map(str, cells))} |"


def _end(run: dict[str, Any], epochs: int) -> str:
    """Say how many of the planned epochs ran, and why not all of them."""
    planned = sum(phase["epochs"] for phase in run["config"]["phases"])
    if epochs >= planned:
        return f"All {planned} planned epochs ran"
    if run.get("finished"):
        return (
            f"Training stopped early, after {epochs} of {planned} planned epochs: {run['config']['patience']} in a row "
            "had been no better"
        )
    return f"Training was stopped before its planned end: {epochs} of {planned} planned epochs ran"


def _ahead(run: dict[str, Any]) -> str:
    cached = any(phase.get("cached_views") for phase in run["config"]["phases"])
    return ", without the time in which frozen stages were run ahead of them" if cached else ""


def _used_models(run: dict[str, Any]) -> list[str]:
    """Return a paragraph on each published model that the run went on from or was taught by."""
    config, lines = run["config"], []
    if config.get("start"):
        lines += [
            f"It went on from the published model {_of(run, 'start')}, its head included; the hours are those of this "
            f"run alone.{_earlier(run)}",
            "",
        ]
    if config.get("teacher"):
        lines += [
            f"It was taught by the published model {_of(run, 'teacher')}: a share of {config['teacher_share']:g} of "
            "the labels was that model's answer to the same image.",
            "",
        ]
    return lines


def _earlier(run: dict[str, Any]) -> str:
    """Name the runs that made the model which this one goes on from."""
    earlier = run.get("earlier_runs")
    if not earlier:
        return ""
    named = ", ".join(f"`{e['id']}` (config `{e['config_name']}`, commit `{e['git_commit']}`)" for e in earlier)
    weights = f"the backbone's first weights were `{earlier[0]['weights']}`"
    return f" Behind that model, the first one first: {named}; {weights}."


def _of(run: dict[str, Any], role: str) -> str:
    sha256 = run.get(f"{role}_sha256")
    return f"`{run['config'][role]}`" + (f" (`model.keras` with SHA-256 `{sha256}`)" if sha256 else "")


def _hardware(run: dict[str, Any]) -> str:
    hardware = run["hardware"]
    accelerator = hardware.get("accelerator", "none")
    return accelerator if accelerator != "none" else f"{hardware['cores']} cores of {hardware['processor']}"

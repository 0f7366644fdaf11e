"""The model card's sections on what a network was trained on and how, made from run.json and history.csv."""

from pathlib import Path
from typing import Any

from dermlens.models.runs import best_row, flat, read_history, without_removed
from training.config import own_archives


def training_data(run: dict[str, Any]) -> list[str]:
    """Return what the network was trained on, from run.json."""
    images, others = run["data"]["images"], own_archives(run)
    named, of_ham, tuned, table = "HAM10000", "", f"{images['validation']:,}", "`data/splits/ham10000.csv`"
    as_far = ""
    if others:
        named, of_ham = f"{', '.join([named, *others[:-1]])} and {others[-1]}", " of HAM10000"
        tuned = f"{tuned} of HAM10000 and {images['external_validation']:,} of the others"
        table = f"{table}, `data/splits/external.csv`"
        as_far = ", as far as ISIC 2017 names lesions and look-alikes were found"
    return [
        f"Trained on {images['train']:,} images of {named}{_labelled(run)}, tuned on {tuned}; split by lesion"
        f"{as_far} ({table}). Some lesions{of_ham} were confirmed by histology, the others by follow-up, consensus or "
        f"confocal microscopy.{_compared(run)}{_before(run, others)}{_left_out(run)}",
        "",
        *([run["note"], ""] if run.get("note") else []),
        *_images_line(run),
    ]


def _labelled(run: dict[str, Any]) -> str:
    if not run["data"].get("labelled"):
        return ""
    count = run["data"]["images"].get("labelled")
    return f" and on {f'{count:,} ' if count else ''}further images, labelled by its makers"


def _compared(run: dict[str, Any]) -> str:
    """Say with which images the labelled ones were compared; older runs compared them with HAM10000's alone."""
    if not run["data"].get("labelled"):
        return ""
    if run["data"].get("labelled_compared_with_archives"):
        return (
            " None of the labelled pictures is one of those that HAM10000 or another archive holds out to measure with."
        )
    return (
        " None of the labelled pictures is one of HAM10000's validation or test images; **they were not compared with "
        "the test images of other archives.**"
    )


def _before(run: dict[str, Any], own: list[str]) -> str:
    """Name what the networks that this one continues from were trained on, beside what it was itself."""
    earlier = run.get("earlier_runs", [])
    more = dict.fromkeys(name for one in earlier for name in own_archives(one) if name not in own)
    found = [f"images of {' and '.join(more)} (`data/splits/external.csv`)"] if more else []
    labelled = [one["data"] for one in earlier if (one.get("data") or {}).get("labelled")]
    if labelled:
        compared = all(data.get("labelled_compared_with_archives") for data in labelled)
        unlike = "" if compared else " (**not compared with the test images of other archives**)"
        found.append(f"further images, labelled by its makers{unlike},")
    return f" It continues from a network that was trained on {' and on '.join(found)} as well." if found else ""


def _left_out(run: dict[str, Any]) -> str:
    code = run["config"]["leave_out"]
    return f" **No {code} was in its training or tuning images: it never learned to name it.**" if code else ""


def _images_line(run: dict[str, Any]) -> list[str]:
    measured = run.get("published_from")
    if not measured:
        return []
    squeezed = "" if measured["stored_aspect"] == "as-is" else f", stored squeezed from {measured['stored_aspect']}"
    text = f"The images were {measured['width']} × {measured['height']} pixels at true aspect{squeezed}."
    return [text + " Images of higher resolution were not tested.", ""]


def recipe(folder: Path, run: dict[str, Any]) -> list[str]:
    """Return the section on how the network was trained, from run.json and history.csv."""
    history = read_history(folder / "history.csv")
    epochs = len(history)
    best = run.get("best_epoch") or best_row(history)["epoch"]
    settings = {
        name: value for name, value in flat(without_removed(run["config"])).items() if not name.startswith("phases.")
    }
    if run["config"].get("start"):  # a run that goes on from a model looks at no other weights
        settings.pop("weights", None)
    return [
        "## Recipe",
        "",
        f"{_epoch(run, best, epochs)}, {run['measured_weights']} weights. {_end(run, epochs)}. "
        f"The epochs took {history['hours'].iloc[-1]:.1f} hours on {_hardware(run)}{_ahead(run)}.",
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
        *[f"| {name} | {value} |" for name, value in settings.items()],
        "",
        *_missing_line(run),
        (f"Computed in {run['precision']}. " if run.get("precision") else "")
        + f"Code at commit `{run['git_commit']}`, Python {run['python']}, "
        + ", ".join(f"{name} {version}" for name, version in run["versions"].items())
        + "."
        + _resumed(run),
    ]


def _resumed(run: dict[str, Any]) -> str:
    """Say where a run went on after it was stopped: how it is computed, and its code, may have changed there."""
    each = [
        f"in {one['precision']} by {one['backend']} on {one['processor']}, code at commit `{one['git_commit']}`"
        for one in run.get("resumed", [])
    ]
    return f" Resumed {'; '.join(dict.fromkeys(each))}." if each else ""


def _epoch(run: dict[str, Any], best: float, epochs: int) -> str:
    """Say which epoch's weights were published; older runs chose theirs by balanced accuracy and do not say so."""
    by = run.get("chosen_by", "balanced accuracy")
    if between := run.get("interpolated"):
        return (
            f"Weights interpolated with those of the run `{between['run']}`, best epoch {best:.0f} of {epochs} by {by}"
        )
    if run.get("published_last_epoch"):
        extreme = "lowest" if by == "cross-entropy" else "highest"
        return f"The last epoch, {epochs} (epoch {best:.0f} has the {extreme} {by} on validation)"
    return f"Best epoch {best:.0f} of {epochs} by {by} on validation"


def _end(run: dict[str, Any], epochs: int) -> str:
    """Say how many of the planned epochs ran, and why not all of them."""
    planned = sum(phase["epochs"] for phase in run["config"]["phases"])
    if epochs >= planned:
        return f"All {planned} planned epochs ran"
    if run.get("finished"):
        return (
            f"Training stopped early, after {epochs} of {planned} planned epochs: {run['config']['patience']} in a row "
            "without improvement"
        )
    return f"Training was stopped before its planned end: {epochs} of {planned} planned epochs ran"


def _hardware(run: dict[str, Any]) -> str:
    hardware = run["hardware"]
    accelerator = hardware.get("accelerator", "none")
    return accelerator if accelerator != "none" else f"{hardware['cores']} cores of {hardware['processor']}"


def _ahead(run: dict[str, Any]) -> str:
    cached = any(phase.get("cached_views") for phase in run["config"]["phases"])
    return ", not counting the time in which frozen stages were run beforehand" if cached else ""


def _used_models(run: dict[str, Any]) -> list[str]:
    """Return a paragraph on each published model that the run continued from or was taught by."""
    config = run["config"]
    lines = []
    if config.get("start"):
        lines += [
            f"It continued from the published model {_of(run, 'start')}, its head included; the hours are those of "
            f"this run alone.{_earlier(run)}{_not_compared(run, 'start')}",
            "",
        ]
    if between := run.get("interpolated"):
        share = 100 * between["share"]
        lines += [
            f"Every weight is a mean of that model's, {100 - share:.0f} % of it, and of what the run "
            f"`{between['run']}` came to, {share:.0f} % (Wortsman et al., CVPR 2022, arXiv:2109.01903); the share was "
            "chosen on validation.",
            "",
        ]
    if config.get("teacher"):
        lines += [
            f"It was taught by the published model {_of(run, 'teacher')}: a share of {config['teacher_share']:g} of "
            f"the labels was that model's answer to the same image.{_not_compared(run, 'teacher')}",
            "",
        ]
    return lines


def _earlier(run: dict[str, Any]) -> str:
    """Name the runs that made the model which this one continues from."""
    earlier = run.get("earlier_runs")
    if not earlier:
        return ""
    named = ", ".join(f"`{e['id']}` (config `{e['config_name']}`, commit `{e['git_commit']}`)" for e in earlier)
    weights = f"the backbone's first weights were `{earlier[0]['weights']}`"
    notes = "".join(f" Of `{e['id']}`: {e['note']}" for e in earlier if e.get("note"))
    return f" The runs behind that model, in order: {named}; {weights}.{notes}"


def _not_compared(run: dict[str, Any], role: str) -> str:
    """Name the runs behind a model of which it was not known, when this run began, what they were trained on."""
    found = run.get(f"{role}_not_compared")
    if not found:
        return ""
    return f" With which split {', '.join(f'`{one}`' for one in found)} trained was not noted."


def _of(run: dict[str, Any], role: str) -> str:
    sha256 = run.get(f"{role}_sha256")
    return f"`{run['config'][role]}`" + (f" (weights with SHA-256 `{sha256}`)" if sha256 else "")


def _phase_line(number: int, phase: dict[str, Any], run: int) -> str:
    stages = {"all": "all", 0: "head"}.get(phase["unfreeze"], f"last {phase['unfreeze']} and head")
    epochs = f"{run} of {phase['epochs']}"
    cells = (number, epochs, phase["size"], stages, f"{phase['learning_rate']:g}", phase["schedule"])
    return f"| {' | '.join(map(str, cells))} |"


def _missing_line(run: dict[str, Any]) -> list[str]:
    first = (run.get("earlier_runs") or [run])[0]
    layers = sorted({name.partition("/")[0] for name in first.get("weights_missing") or []})
    where = "" if first is run else f" of `{first['id']}`"
    text = f"Not filled by the backbone's archive{where}, so trained from scratch: {', '.join(layers)}."
    return [text, ""] if layers else []

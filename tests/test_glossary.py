"""One thing has one name: nothing that people read holds a word that the glossary replaces by another."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
GLOSSARY = ROOT / "docs" / "glossary.md"
CODE = ("Home.py", "pages", "ui", "dermlens", "training/model_card")
QUOTED = re.compile(r"\*[^*\n]*dermatoscopic[^*]*\*|\(?[^.()]*\(Vovk[^)]*\)")
"""Titles of other people's work keep their words."""


def table() -> dict[str, tuple[str, ...]]:
    """Return the words of the last column -> those of the first, from the lines of the glossary's table."""
    rows = [line.strip("| \n").split(" | ") for line in GLOSSARY.read_text().splitlines() if line.startswith("| ")]
    return {
        word.strip(): tuple(w.strip() for w in say.split(","))
        for say, _, wrong in rows[2:]
        for word in wrong.split(",")
    }


def in_python(file: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and text of every string of a module that is not a docstring, a key or a name."""
    tree = ast.parse(file.read_text())
    docstrings = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if not isinstance(node, ast.Constant) or id(node) in docstrings:
            continue
        if isinstance(node.value, str) and " " in node.value:
            yield node.lineno, node.value


def texts() -> Iterator[tuple[str, str]]:
    """Yield what people read, each with where it stands."""
    for name in CODE:
        place = ROOT / name
        for file in [place] if place.is_file() else sorted(place.rglob("*.py")):
            for line, text in in_python(file):
                yield f"{file.relative_to(ROOT)}:{line}", text
    for file in (
        ROOT / "README.md",
        *sorted((ROOT / "docs").glob("*.md")),
        *sorted((ROOT / "models").glob("*/README.md")),
    ):
        if file != GLOSSARY:
            yield str(file.relative_to(ROOT)), file.read_text()


TEXTS = [(where, QUOTED.sub("", text)) for where, text in texts()]


def found(text: str, word: str, right: tuple[str, ...]) -> bool:
    """Whether a text holds a word, outside the expressions that the glossary wants."""
    if word.casefold() not in text.casefold():
        return False
    for expression in right:
        text = re.sub(rf"\b{re.escape(expression)}\b", "", text, flags=re.IGNORECASE)
    return re.search(rf"(?<![\w`/.-]){re.escape(word)}(?![\w`/-])", text, re.IGNORECASE) is not None


@pytest.mark.parametrize("word", table())
def test_no_text_uses_another_word(word: str) -> None:
    right = table()[word]
    wrong = [where for where, text in TEXTS if found(text, word, right)]
    assert not wrong, f"say {' or '.join(right)}, not {word!r}"


def test_the_check_finds_what_it_looks_for() -> None:
    assert found("This nevus is benign.", "nevus", ("melanocytic nevus", "Spitz nevus"))
    assert not found("Melanocytic nevus, or Spitz nevus.", "nevus", ("melanocytic nevus", "Spitz nevus"))
    assert found("No rule fires.", "fires", ("applies",))
    assert len(table()) > 40
    assert len(TEXTS) > 500

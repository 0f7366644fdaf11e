"""Under which licences everything is that is installed: `python -m tests.supply.licences` writes docs/licences.md."""

import re
from importlib import metadata
from pathlib import Path

from dermlens.files.documents import write_whole

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "licences.md"
GPL = re.compile(r"(?<![L])\bA?GPL|(?<!Lesser )General Public License|Affero", re.IGNORECASE)
GPL_LIBRARIES = re.compile(r"lib(x264|x265|fftw3|gsl|readline|xvidcore|postproc)\b", re.IGNORECASE)
"""Files of libraries that are under the GPL alone, as wheels bundle them without saying so."""
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==(\S+)", re.MULTILINE)
_LONGEST = 100
HEAD = """# Licences

What each package says of itself, of those that `make run` installs and then of those that only some need or that test
Dermlens. Made by `make sbom` from the packages installed on Linux x86-64, with `dist/sbom.cdx.json`, the same list in
CycloneDX.
"""


def pins(lock: Path) -> dict[str, str]:
    """Return {name in lower case with hyphens: version} of a lock."""
    return {canonical(name): version for name, version in _PIN.findall(lock.read_text())}


def canonical(name: str) -> str:
    """Return a package's name in the form that all spellings share (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def licence(package: metadata.Distribution) -> str:
    """Return the licence that a package declares, "" if it declares none."""
    about = package.metadata
    if expression := _first(about, "License-Expression"):
        return expression
    classified = [c.rpartition(" :: ")[2] for c in about.get_all("Classifier", []) if c.startswith("License :: ")]
    classified = [c for c in classified if c != "OSI Approved"]
    stated = _first(about, "License").strip().partition("\n")[0]
    if classified:
        return " or ".join(classified)
    return stated if len(stated) <= _LONGEST and stated != "UNKNOWN" else ""


def _first(about: metadata.PackageMetadata, name: str) -> str:
    return str((about.get_all(name) or [""])[0])


def under_gpl(package: metadata.Distribution) -> bool:
    """Whether a package says that it is under the GPL, or brings a library that is."""
    bundled = [file.name for file in package.files or () if GPL_LIBRARIES.search(file.name)]
    return bool(GPL.search(licence(package)) or bundled)


def table(lock: Path, without: frozenset[str] = frozenset()) -> str:
    """Return the licences of the packages of a lock that are installed here, as Markdown."""
    lines = ["| package | version | licence |", "| --- | --- | --- |"]
    for name in sorted(set(pins(lock)) - without):
        try:
            package = metadata.distribution(name)
        except metadata.PackageNotFoundError:  # for another system
            continue
        said = licence(package) or "see its files"
        lines.append(f"| {name} | {package.version} | {said.replace('|', '/')} |")
    return "\n".join(lines)


def main() -> None:
    """Write the table."""
    everybody, some = ROOT / "locks" / "requirements.txt", ROOT / "locks" / "requirements-dev.txt"
    parts = ("## Everybody", table(everybody), "## Only some", table(some, frozenset(pins(everybody))))
    write_whole(TABLE, (HEAD + "\n" + "\n\n".join(parts) + "\n").encode())


if __name__ == "__main__":
    main()

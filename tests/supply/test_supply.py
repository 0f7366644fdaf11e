"""Where everything comes from: hashes, licences, and what is said of vulnerabilities."""

import json
import re
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests.supply import audit, licences, platforms
from tests.supply.licences import canonical, pins

ROOT = Path(__file__).parents[2]
FILES = sorted(path.name for path in ROOT.glob("requirements*.txt"))


@pytest.mark.parametrize("file", FILES)
def test_every_pin_has_hashes_and_every_requirement_is_locked(file: str) -> None:
    lock = ROOT / "locks" / file
    assert lock.is_file(), "run `make lock`"
    entries = re.split(r"\n(?=[A-Za-z0-9])", lock.read_text().strip())
    for entry in entries:
        assert re.match(r"[\w.-]+(\[[\w,-]+\])?==\S+", entry), entry[:80]
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), f"no hash: {entry[:80]}"
    wanted = re.findall(r"^([\w.-]+)(?:\[\w+\])?==([^\s;]+)", (ROOT / file).read_text(), re.MULTILINE)
    locked = pins_with_extras(lock)
    for name, version in wanted:
        assert locked.get(canonical(name)) == version, f"{name}=={version} in {file}: run `make lock`"


def pins_with_extras(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9][\w.-]*)(?:\[[\w,-]+\])?==(\S+)", lock.read_text(), re.MULTILINE)
    return {canonical(name): version for name, version in found}


def test_no_two_locks_disagree() -> None:
    seen: dict[str, set[str]] = {}
    for lock in (ROOT / "locks").glob("requirements*.txt"):
        if lock.name == "requirements-s3.txt":  # an environment of its own: moto wants other versions
            continue
        for name, version in pins_with_extras(lock).items():
            seen.setdefault(name, set()).add(version)
    common = pins(ROOT / "constraints.txt")
    assert {name: versions for name, versions in seen.items() if name in common and versions != {common[name]}} == {}


def test_the_makefile_installs_nothing_without_hashes_but_what_it_says() -> None:
    text = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if "pip install" in line and "--require-hashes" not in line]
    assert all("torch" in line for line in lines), lines
    assert "--only-binary :all:" in text


def test_nothing_that_everybody_installs_is_under_the_gpl() -> None:
    wanted = pins_with_extras(ROOT / "locks" / "requirements.txt")
    installed = {canonical(d.name): d for d in metadata.distributions()}
    looked_at = [installed[name] for name in wanted if name in installed]
    assert len(looked_at) > 60
    assert [d.name for d in looked_at if licences.under_gpl(d)] == []
    assert not re.search("heif", "".join(wanted))


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ("GPL-3.0-or-later", True),
        ("GNU General Public License v2 (GPLv2)", True),
        ("GNU Affero General Public License v3", True),
        ("LGPL-3.0-only", False),
        ("GNU Lesser General Public License v3 (LGPLv3)", False),
        ("MIT", False),
    ],
)
def test_the_gpl_is_known_when_it_is_seen(said: str, found: bool) -> None:
    assert bool(licences.GPL.search(said)) is found


def test_a_wheel_that_bundles_the_gpl_without_saying_so_is_found() -> None:
    if "pillow-heif" not in {canonical(d.name) for d in metadata.distributions()}:
        pytest.skip("pillow-heif is not installed")
    assert licences.under_gpl(metadata.distribution("pillow-heif"))


def test_the_table_of_licences_tells_what_is_installed() -> None:
    text = licences.table(ROOT / "locks" / "requirements.txt")
    assert re.search(r"^\| numpy \| [\d.]+ \| .*BSD", text, re.MULTILINE)
    assert not re.search(r"\b(?<!L)GPL", text)


def answers(tmp_path: Path, answer: str, status: int = 0) -> tuple[str, ...]:
    """Return a command that stands for pip-audit and says so."""
    program = tmp_path / "answer.py"
    program.write_text(f"import sys; print({answer!r}); print('no route to host', file=sys.stderr); sys.exit({status})")
    return sys.executable, str(program)


def test_an_audit_tells_findings_nothing_found_and_nobody_asked_apart(tmp_path: Path) -> None:
    lock = ROOT / "locks" / "requirements-pip.txt"
    clean = {"name": "a", "version": "1", "vulns": []}
    hole = {"name": "b", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}
    skipped = {"name": "c", "skip_reason": "not found"}

    def asked(*listed: dict, status: int = 0) -> tuple[int, list[str]]:
        return audit.audit(lock, answers(tmp_path, json.dumps({"dependencies": listed}), status))

    assert asked(clean)[0] == 0
    code, said = asked(clean, hole, status=1)
    assert code == 1
    assert "b 2 has CVE-1; fixed in 3." in said[0]
    assert asked(clean, skipped)[0] == 2
    code, said = asked(skipped)
    assert code == 2
    assert said == [audit.UNKNOWN.format(reason="not found", file=lock.name)]
    code, said = audit.audit(lock, answers(tmp_path, "", 1))
    assert code == 2
    assert said == [audit.UNKNOWN.format(reason="no route to host", file=lock.name)]
    assert audit.main(answers(tmp_path, json.dumps({"dependencies": [hole]}), 1)) == 1


def test_what_is_missing_where_is_told_system_by_system() -> None:
    def ask(name: str, system: str, python: str) -> str:
        return {"Linux aarch64": "a 1", "macOS arm64": "b 2" if python == "3.13" else ""}.get(system, "")

    assert platforms.table(["x.txt"], ask).splitlines()[-1] == (
        "| `x.txt` | yes | no `a 1` | no `b 2` (Python 3.13) | yes |"
    )

"""Known vulnerabilities of everything that is pinned: `python -m tests.supply.audit`.

The exit status is 1 if one is known, and 2, with a sentence, if that could not be found out.
"""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
COMMAND = (*(sys.executable, "-m", "pip_audit"), *("--format", "json", "--progress-spinner", "off", "--disable-pip"))
UNKNOWN = "Not known: the list of vulnerabilities could not be asked ({reason}). Nothing was checked in {file}."


def audit(lock: Path, command: tuple[str, ...] = COMMAND) -> tuple[int, list[str]]:
    """Look every pin of a lock up.

    Returns:
        The exit status (0 none is known, 1 some are, 2 nobody could be asked) and what to say, a line each.
    """
    done = subprocess.run([*command, "--requirement", str(lock)], cwd=ROOT, capture_output=True, text=True)
    try:
        listed = json.loads(done.stdout)["dependencies"]
        skipped = [d for d in listed if "skip_reason" in d]
        holes = [(d["name"], d["version"], v) for d in listed for v in d.get("vulns", ())]
    except (ValueError, KeyError, TypeError):
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
        return 2, [UNKNOWN.format(reason=reason[:300], file=lock.name)]
    if len(skipped) == len(listed):
        reason = skipped[0]["skip_reason"] if skipped else "an empty answer"
        return 2, [UNKNOWN.format(reason=reason[:300], file=lock.name)]
    said = [f"{lock.name}: {d['name']} was not looked up ({d['skip_reason']})." for d in skipped]
    for name, version, hole in holes:
        fixed = ", ".join(hole["fix_versions"]) or "no version yet"
        said.append(f"{lock.name}: {name} {version} has {hole['id']}; fixed in {fixed}.")
    said.append(f"{lock.name}: {len(listed) - len(skipped)} packages looked up, {len(holes)} vulnerabilities known.")
    return 1 if holes else 2 if skipped or done.returncode else 0, said


def main(command: tuple[str, ...] = COMMAND) -> int:
    """Print what is known of every lock; return the exit status."""
    status = []
    for lock in sorted((ROOT / "locks").glob("requirements*.txt")):
        code, said = audit(lock, command)
        status.append(code)
        print(*said, sep="\n", flush=True)
        if code == 2 and not any(status[:-1]):
            break  # nobody answers: asking about the others takes as long and says the same
    return 1 if 1 in status else max(status, default=2)


if __name__ == "__main__":
    sys.exit(main())

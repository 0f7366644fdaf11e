"""Decode every kind of file by independent programs too: `python -m tests.decoders [--only PROGRAM]`.

Prints, file by file, the mean and the largest absolute difference from what we show, of 255, and whether the picture is
turned. The exit status is 1 if a difference has no explanation. Programs that are not on this machine are left out
(`make decoders` installs them).
"""

import argparse
import sys

from tests.decoders.compare import DIFFERS, cases, compare, table
from tests.decoders.programs import KINDS, missing


def main() -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.decoders", description=__doc__.partition("\n")[0])
    parser.add_argument("--only", choices=KINDS, action="append", help="this program alone")
    chosen, files = parser.parse_args().only or list(KINDS), cases()
    found = []
    for program in chosen:
        if lacks := missing(program):
            print(f"{program} is left out: there is no {lacks} here.", file=sys.stderr)
        else:
            found += compare(program, files)
    print(table(found))
    return int(any(c.verdict == DIFFERS for c in found))


if __name__ == "__main__":
    sys.exit(main())

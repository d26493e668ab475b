"""`python -m tests.yardstick`: run RQ's worker tests against FleetWorker and compare with the known exceptions.

Options: --stock runs them with RQ's own workers (with JSON, for comparison), --sdist FILE takes a source distribution
that was downloaded before, --slow runs what RQ calls slow too, --only NAME... runs some files, -k as in pytest.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.yardstick import exceptions, rqs_tests


def main() -> int:
    """0 when every test passed or is a known exception, 1 otherwise, 2 when RQ's tests can't be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.yardstick", description=__doc__)
    parser.add_argument("--stock", action="store_true")
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--sdist", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("-k", default="")
    options = parser.parse_args()
    try:
        tests = rqs_tests.unpacked(options.sdist)
    except rqs_tests.Unavailable as error:
        print(error)
        return 2
    found = rqs_tests.run(tests, options.only, options.k, stock=options.stock, slow=options.slow)
    print(exceptions.summary(found))
    if options.stock:
        return 0
    partial = bool(options.only or options.k)
    problems = exceptions.compare(found, complete=not partial, slow=options.slow)
    print("\n".join(problems) or "as expected")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())

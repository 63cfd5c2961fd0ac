# SPDX-License-Identifier: Apache-2.0
"""Test points for the tests with real clients: Tap counts, prints and ends the test."""

import sys


class Skip(Exception):
    """Raised by a test that can not run here; the text says why."""


class Tap:
    def __init__(self):
        self.count = 0
        self.bad = 0

    def point(self, good, text, detail=""):
        """One test point; returns @good so that a test can stop early."""
        self.count += 1
        self.bad += not good
        print(f"{'ok' if good else 'not ok'} {self.count} - {text}", flush=True)
        if detail and not good:
            for line in str(detail).splitlines():
                print(f"# {line}", flush=True)
        return good

    def note(self, text):
        print(f"# {text}", flush=True)

    def end(self):
        """Prints the plan and leaves with the verdict."""
        print(f"1..{self.count}", flush=True)
        sys.exit(1 if self.bad or not self.count else 0)


def run(test):
    """Runs test(tap); a Skip skips all of it, any other exception is a failed point."""
    tap = Tap()
    try:
        test(tap)
    except Skip as reason:
        if tap.count == 0:
            print(f"1..0 # SKIP {reason}", flush=True)
            sys.exit(0)
        tap.point(False, f"stopped early: {reason}")
    except Exception as error:  # pylint: disable=broad-except
        import traceback
        tap.point(False, f"{type(error).__name__}: {error}", traceback.format_exc())
    tap.end()

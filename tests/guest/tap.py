# SPDX-License-Identifier: Apache-2.0
"""Test points for the tests with real clients: Tap counts, prints and ends the test."""

import signal
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


def tell_of_crash(status, log):
    """Says in the output what the runner never forgives: a program that ended by a signal nobody
    sends, a sanitizer's report in its log. True when there is such a report."""
    if status is not None and -status in (signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS,
                                          signal.SIGILL, signal.SIGFPE, signal.SIGSYS):
        print(f"# a program ended by signal {-status}", flush=True)
    complained = any(word in log for word in ("Sanitizer", "runtime error"))
    if complained:
        print("# SUMMARY: Sanitizer: see the log", flush=True)
    return complained


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

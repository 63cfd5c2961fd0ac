#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=600 engines=both waits
"""iscsi-test-cu (Debian's libiscsi-bin) against the daemon: every suite in a process of its own,
with a time limit. The program prints a skipped test as a passed one, so its output is read; what
it skips, and what it gets wrong itself, must be exactly what docs/CONFORMANCE.md lists.

CONFORMANCE_URL=iscsi://... runs it against another target (its data is destroyed).
--print writes the two tables' rows from what was seen."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

sys.path.insert(1, HERE)
from iscsi_client import Connection  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

ROOT = os.path.dirname(os.path.dirname(HERE))
DOCUMENT = os.path.join(ROOT, "docs", "CONFORMANCE.md")
IQN = "iqn.2026-11.org.granary:conformance"
SUITE_LIMIT = 360 if daemon.CEPH else 90  # seconds
TWO_PATH_SUITES = {"MultipathIO"}

TEST = re.compile(r"^  Test: (\S+) \.\.\.", re.M)
VERDICT = re.compile(r"(passed|FAILED)(?=\s*$|\s+Send PRIN)", re.M)
SKIPPED = re.compile(r"\[SKIPPED\]\s*(.*)")


def listed_tests():
    """{suite: [test, ...]} of the family that holds them all."""
    text = subprocess.run(["iscsi-test-cu", "--list"], capture_output=True, text=True,
                          timeout=30, check=False).stdout
    suites = {}
    for line in text.splitlines():
        parts = line.strip().split(".")
        if len(parts) == 3 and parts[0] == "ALL":
            suites.setdefault(parts[1], []).append(parts[2])
    return suites


def run(selection, urls):
    """(exit status or None when it hung, output) of one run of the program."""
    command = ["iscsi-test-cu", "-V", "--dataloss", "--allow-sanitize", "-t", "ALL." + selection,
               *urls]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, timeout=SUITE_LIMIT, check=False)
        return result.returncode, result.stdout.decode(errors="replace")
    except subprocess.TimeoutExpired as late:
        return None, (late.stdout or b"").decode(errors="replace")


def verdicts(output):
    """{test: ("passed" | "failed" | "skipped", detail)} from the program's own words."""
    parts = TEST.split(output)
    found = {}
    for name, body in zip(parts[1::2], parts[2::2]):
        end = VERDICT.search(body)
        skipped = SKIPPED.search(body, 0, end.start() if end else len(body))
        if not end:
            found[name] = ("failed", body[-2000:])
        elif end.group(1) == "FAILED":
            found[name] = ("failed", body[max(0, end.start() - 1500):end.end() + 1500])
        elif skipped:
            found[name] = ("skipped", skipped.group(1).strip())
        else:
            found[name] = ("passed", "")
    return found


def run_suite(suite, tests, url, slow):
    """{suite.test: verdict} and how the processes ended. @slow: a Slow, or None."""
    results, endings = {}, []
    parts = [suite]
    if slow and suite == slow.suite:  # each by itself but one, which is running already
        parts = [f"{suite}.{test}" for test in tests if test != slow.test]
    for part in parts:
        status, output = run(part, [url, url] if suite in TWO_PATH_SUITES else [url])
        endings.append((part, status))
        for test, verdict in verdicts(output).items():
            results[f"{suite}.{test}"] = verdict
    if slow and suite == slow.suite:
        results[f"{suite}.{slow.test}"] = slow.verdict()
    for test in tests:
        results.setdefault(f"{suite}.{test}", ("failed", "did not run"))
    return results, endings


class Slow:
    """Sanitize.Reset supposes an operation of more than three seconds: it runs beside the other
    suites, on a LUN whose limit makes it last, of a target of its own, which it resets. In the
    end it only waits for the operation, asleep for a minute at a time and deaf to NOPs: when it
    has come there, we wait in its place."""

    suite, test = "Sanitize", "Reset"
    megabytes, per_second = 24, "2M"
    iqn = IQN + ".slow"
    last_words = "Wait until the SANITIZE operation has finished"

    def __init__(self, server):
        self.server = server
        server.granary("volume", "create", "tank/slow", "64M")
        server.granary("target", "create", self.iqn)
        server.granary("lun", "map", self.iqn, "tank/slow", "--lun", "0")
        server.granary("target", "allow", self.iqn, "--initiator", "any", "--network",
                       "127.0.0.0/8")
        with self.connect() as connection:
            self.ready(connection)
            for number in range(self.megabytes):
                connection.write(number * 2048, b"x" * (1 << 20))
            connection.logout()
        server.granary("volume", "set", "tank/slow", "--bandwidth", self.per_second)
        self.output, self.status, self.ended = "", None, False
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def connect(self):
        return Connection(self.server.address, self.server.port).login(self.iqn)

    @staticmethod
    def ready(connection):
        return any(connection.command(bytes(6)).status == 0 for _ in range(8))

    def run(self):
        url = f"iscsi://{self.server.address}:{self.server.port}/{self.iqn}/0"
        command = ["iscsi-test-cu", "-V", "--dataloss", "--allow-sanitize",
                   "-t", f"ALL.{self.suite}.{self.test}", url]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, errors="replace") as program:
            timer = threading.Timer(SUITE_LIMIT, program.kill)
            timer.start()
            for line in program.stdout:
                self.output += line
                if self.last_words in line:
                    self.ended = True
                    program.kill()
            timer.cancel()

    def verdict(self):
        self.thread.join()
        over, limit = False, time.monotonic() + 30
        while self.ended and not over and time.monotonic() < limit:
            with self.connect() as connection:
                over = self.ready(connection)
            time.sleep(0.2)
        good = over and self.output.count("SANITIZE_IN_PROGRESS") >= 4
        if good and "[FAILED]" not in self.output and "[SKIPPED]" not in self.output:
            return ("passed", "")
        return ("failed", self.output[-3000:])


def documented(heading):
    """Test names in the first column of the table under @heading."""
    names, inside = [], False
    with open(DOCUMENT, encoding="utf-8") as file:
        for line in file:
            if line.startswith("#"):
                inside = line.strip("# \n") == heading
            elif inside and re.match(r"\| `", line):
                names.append(line.split("`")[1])
    return names


def report(points, results, wrong):
    for name, (verdict, detail) in results.items():
        if verdict == "skipped":
            points.count += 1
            print(f"ok {points.count} - {name} # SKIP {detail}", flush=True)
        elif verdict == "failed" and name in wrong:
            points.count += 1
            print(f"ok {points.count} - {name} # SKIP wrong in iscsi-test-cu itself, "
                  "see docs/CONFORMANCE.md", flush=True)
        else:
            points.point(verdict == "passed", name, detail)


def compare(points, results, wrong):
    skipped = {name for name, (verdict, _) in results.items() if verdict == "skipped"}
    failed = {name for name, (verdict, _) in results.items() if verdict == "failed"}
    listed = documented("Skipped")
    if daemon.CEPH:  # RBD volumes are not sanitized
        without = ("Sanitize.", "WriteAtomic16.")
        skipped = {name for name in skipped if not name.startswith(without)}
        listed = [name for name in listed if not name.startswith(without)]
    points.point(len(listed) == len(set(listed)), "docs/CONFORMANCE.md lists no test twice")
    points.point(skipped == set(listed), "what is skipped is what docs/CONFORMANCE.md lists",
                 f"skipped, not listed: {sorted(skipped - set(listed))}\n"
                 f"listed, not skipped: {sorted(set(listed) - skipped)}")
    points.point(set(wrong) <= failed, "what docs/CONFORMANCE.md calls wrong still is",
                 f"not failing: {sorted(set(wrong) - failed)}")


def test_url(points, url, slow=None):
    wrong = documented("Wrong in the test program")
    suites = listed_tests()
    points.point(sum(map(len, suites.values())) > 200, "iscsi-test-cu lists its tests")
    if daemon.CEPH:  # it writes more than the one block that VPD page B0 allows
        suites.pop("WriteAtomic16")
    results, bad = {}, []
    for suite, tests in suites.items():
        found, endings = run_suite(suite, tests, url, slow)
        results.update(found)
        bad += [f"{name}: {'hung' if status is None else f'ended with {status}'}"
                for name, status in endings if status is None or status < 0]
    report(points, results, wrong)
    points.point(not bad, "no suite hung, none crashed", "\n".join(bad))
    compare(points, results, wrong)
    counts = {kind: sum(verdict == kind for verdict, _ in results.values())
              for kind in ("passed", "failed", "skipped")}
    points.note(f"iscsi-test-cu: {counts['passed']} passed, {counts['failed']} failed, "
                f"{counts['skipped']} skipped of {len(results)}")
    if "--print" in sys.argv:
        for name, (verdict, detail) in sorted(results.items()):
            if verdict != "passed":
                points.note(f"{verdict} | `{name}` | {detail.splitlines()[0] if detail else ''} |")


def test(points):
    if not shutil.which("iscsi-test-cu"):
        raise tap.Skip("iscsi-test-cu (libiscsi-bin) is not installed")
    if "CONFORMANCE_URL" in os.environ:
        test_url(points, os.environ["CONFORMANCE_URL"])
        return
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state)
        try:
            server.granary("volume", "create", "tank/conformance", "1G")
            server.granary("target", "create", IQN)
            server.granary("lun", "map", IQN, "tank/conformance", "--lun", "0")
            server.granary("target", "allow", IQN, "--initiator", "any",
                           "--network", "127.0.0.0/8")
            slow = None if daemon.CEPH else Slow(server)
            test_url(points, f"iscsi://{server.address}:{server.port}/{IQN}/0", slow)
            points.point(server.process.poll() is None, "the daemon is still there")
        finally:
            status = server.stop()
            log = server.log()
        points.point(status == 0, "clean stop", f"exit status {status}\n{log[-3000:]}")


if __name__ == "__main__":
    tap.run(test)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 engines=one asan=never
"""The house's own tools: each check can fail, and make install puts everything where it belongs."""

import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "guest"))
# pylint: disable=wrong-import-position
from tap import run

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def tool(*command, **more):
    """Exit status and output of one tool."""
    result = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, timeout=120, **more)
    return result.returncode, result.stdout


def write(top, name, text, mode=0o644):
    path = os.path.join(top, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def layers(tap):
    cases = (
        ("core/a.c", '#include "volumes/pool.h"\n', "core does not stand on volumes"),
        ("volumes/a.c", '#include "target/task.h"\n', "volumes does not stand on target"),
        ("iscsi/a.c", '#include "volumes/journal.h"\n', "not a public header"),
        ("cli/a.c", '#include "volumes/pool.h"\n', "cli does not stand on volumes"),
        ("target/a.c", '#include "task.h"\n', "names no folder"),
        ("attic/a.c", "int x;\n", "does not know"),
    )
    for name, text, complaint in cases:
        with tempfile.TemporaryDirectory() as top:
            write(top, "core/b.c", SPDX)
            write(top, name, SPDX + text)
            status, said = tool("tests/check_layers", top)
            tap.point(status == 1 and complaint in said, f"check_layers: {name}: {complaint}", said)
    with tempfile.TemporaryDirectory() as top:
        write(top, "iscsi/a.c", SPDX + '#include "target/target.h"\n#include "iscsi/pdu.h"\n')
        status, said = tool("tests/check_layers", top)
        tap.point(status == 0, "check_layers: an allowed edge passes", said)


def sources(tap):
    cases = (
        ("core/a.c", "int x;\n", "no SPDX"),
        ("core/a.c", SPDX + "int f(void) { return system(0); }\n", "system() is banned"),
        ("core/a.c", SPDX + "void f(char *a) { strcpy (a, a); }\n", "strcpy() is banned"),
        ("docs/a.md", "see /home/" + "somebody/granary\n", "names a folder of one machine"),
        ("core/a.c", SPDX + "/* TO" + "DO: later */\n", "left unfinished"),
        ("core/a.c", SPDX + 'char *a = "insert into lun values(?)";\n', "names no columns"),
    )
    for name, text, complaint in cases:
        with tempfile.TemporaryDirectory() as top:
            write(top, name, text)
            status, said = tool("tests/check_sources", top)
            tap.point(status == 1 and complaint in said, f"check_sources: {complaint}", said)
    with tempfile.TemporaryDirectory() as top:
        write(top, "core/a.c", SPDX + '/* system() */ const char *x = "strcpy(";\n')
        status, said = tool("tests/check_sources", top)
        tap.point(status == 0, "check_sources: comments and strings are not calls", said)


def runner(tap):
    """tests/run in a tree of its own, with suites that end in every way a suite can."""
    suites = {
        "good": ("echo 1..2; echo 'ok 1 - a'; echo 'ok 2 - b # SKIP no tape'", "ok", None),
        "bad": ("echo 1..1; echo 'not ok 1 - broken'; exit 1", "FAIL", "broken"),
        "short": ("echo 1..3; echo 'ok 1 - a'", "FAIL", "planned 3"),
        "silent": ("exit 0", "FAIL", "no test point"),
        "status": ("echo 1..1; echo 'ok 1 - a'; exit 3", "FAIL", "exit status 3"),
        "slow": ("echo 1..1; sleep 60", "FAIL", "not through"),
        "litter": ("echo 1..1; sleep 61 & echo 'ok 1 - a'", "FAIL", "processes behind"),
    }
    with tempfile.TemporaryDirectory() as top:
        with open(os.path.join(ROOT, "tests", "run"), encoding="utf-8") as file:
            write(top, "tests/run", file.read(), 0o755)
        for name, (script, _, _) in suites.items():
            write(top, f"tests/integration/{name}_test.sh",
                  f"#!/bin/sh\n# granary-test: engines=one timeout={2 if name == 'slow' else 60}\n"
                  f"{script}\n", 0o755)
        status, said = tool(os.path.join(top, "tests/run"), "--build", top)
        for name, (_, verdict, complaint) in suites.items():
            line = next((l for l in said.splitlines() if f"integration/{name}_test:" in l), "")
            good = line.split()[:1] == [verdict] and (complaint is None or complaint in said)
            tap.point(good, f"runner: a suite that is {name} counts as {verdict}", said)
        last = said.splitlines()[-1]
        tap.point(status == 1 and last == "4 passed, 6 failed, 1 skipped",
                  "runner: the last line adds up and the status tells", said)
        tap.point("good_test: b: no tape" in said, "runner: says what was skipped and why", said)
        status, said = tool(os.path.join(top, "tests/run"), "--build", top, "--only", "nothing")
        tap.point(status == 1 and said.splitlines()[-1] == "0 passed, 0 failed, 0 skipped",
                  "runner: nothing run is a failure", said)


def packages(tap):
    with tempfile.TemporaryDirectory() as top:
        with open(os.path.join(ROOT, "tools", "packages"), encoding="utf-8") as file:
            write(top, "tools/packages", file.read(), 0o755)
        write(top, "packages.txt", "[run]\ndpkg # there always\n[test]\ngranary-no-such-package\n")
        stamp = os.path.join(top, "out", "stamp")
        status, said = tool(os.path.join(top, "tools/packages"), "check", "run", stamp)
        tap.point(status == 0 and os.path.exists(stamp), "packages: all there leaves a stamp", said)
        os.unlink(stamp)
        status, said = tool(os.path.join(top, "tools/packages"), "check", "test", stamp)
        tap.point(status == 1 and not os.path.exists(stamp)
                  and "missing: granary-no-such-package" in said and "apt-get install" in said,
                  "packages: says what is missing and the command", said)


def install(tap):
    with tempfile.TemporaryDirectory() as top:
        status, said = tool("make", "install", f"DESTDIR={top}", "PREFIX=/usr", f"BUILD={BUILD}")
        if not tap.point(status == 0, "make install", said):
            return
        for name in ("usr/sbin/granaryd", "usr/bin/granary",
                     "usr/lib/systemd/system/granaryd.service"):
            tap.point(os.path.isfile(os.path.join(top, name)), f"make install: {name}")
        status, said = tool(os.path.join(top, "usr/sbin/granaryd"), "--version")
        tap.point(status == 0 and said.strip(), "the installed daemon says its version", said)
        with open(os.path.join(top, "usr/lib/systemd/system/granaryd.service"),
                  encoding="utf-8") as file:
            unit = file.read()
        tap.point("ExecStart=/usr/sbin/granaryd " in unit and "@SBINDIR@" not in unit,
                  "the unit starts the installed daemon", unit)
        for page in sorted(os.listdir(os.path.join(ROOT, "docs", "man"))):
            section = page.rpartition(".")[2]
            tap.point(os.path.isfile(os.path.join(top, "usr/share/man", f"man{section}", page)),
                      f"make install: {page}")


def test(tap):
    layers(tap)
    sources(tap)
    runner(tap)
    packages(tap)
    install(tap)


if __name__ == "__main__":
    run(test)

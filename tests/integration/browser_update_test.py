#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=330 engines=one
"""The appliance's release in a real browser (tests/browser/update.mjs): a bundle that is chosen, a
forged one, one from a URL, what would be different. Daemon, helper and disk of the appliance are in a
mount namespace of their own, the browser is not.
PICTURES=DIR keeps pictures."""

import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api      # pylint: disable=wrong-import-position
import browser  # pylint: disable=wrong-import-position
import loops    # pylint: disable=wrong-import-position
import slots    # pylint: disable=wrong-import-position
import tap      # pylint: disable=wrong-import-position


class Box:
    """The daemon in there, as far as a walk asks for it."""

    def __init__(self, state):
        self.state = state
        self.port = 0

    def log(self):
        with open(self.state + ".log", encoding="utf-8", errors="replace") as file:
            return file.read()


def appliance(folder, devices):
    """In there, until standard input ends: what the walk needs, in one line; and how it ended."""
    machine = slots.Machine(folder, devices)
    bundles, _ = slots.make_bundles(machine)
    releases = slots.Releases(folder, bundles)
    daemon = api.Daemon(os.path.join(folder, "state"))
    try:
        subprocess.run([slots.GRANARY_UPDATE, "status"], stdout=subprocess.DEVNULL, check=True)
        print(json.dumps({"releases": releases.url, "bundles": releases.folder}), flush=True)
        sys.stdin.read()
    finally:
        status = daemon.stop()
        machine.close()
        releases.close()
    print(json.dumps({"status": status, "env": machine.env()}), flush=True)


def test(points):
    slots.needed()
    found = browser.needed()
    with tempfile.TemporaryDirectory() as folder, loops.Loops(folder, 2, "48M") as disks:
        command = slots.inside(__file__, "--appliance", folder, *disks.paths)
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as inner:
            line = inner.stdout.readline()
            points.point(line.startswith("{"), "there is an appliance", line)
            if not line:
                return
            try:
                browser.walk(points, found, Box(os.path.join(folder, "state")), "update.mjs",
                             **json.loads(line))
            finally:
                inner.stdin.close()
                end = json.loads(inner.stdout.readline() or "{}")
            points.point(end.get("status") == 0 and end["env"]["slot"] == "b",
                         "the daemon stops cleanly, and the next start is from the other slot", end)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--appliance"]:
        appliance(sys.argv[2], sys.argv[3:])
    else:
        tap.run(test)

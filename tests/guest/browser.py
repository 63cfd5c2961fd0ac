# SPDX-License-Identifier: Apache-2.0
"""Runs a script of tests/browser/ with node: what it needs goes in GRANARY_BROWSER, and each of its
lines of JSON is a test point, or a note when it says nothing of "good"."""

import json
import os
import subprocess

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "browser")


def drive(points, node, script, given, limit=290):
    environment = dict(os.environ, GRANARY_BROWSER=json.dumps(given))
    with subprocess.Popen([node, os.path.join(FOLDER, script)], env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            output, complaints = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            output, complaints = process.communicate()
            points.point(False, f"{script} ends in time")
    for line in output.splitlines():
        step = json.loads(line) if line.startswith("{") else {}
        if "good" in step:
            points.point(step["good"], step["text"], step["detail"])
        elif "text" in step:
            points.note(step["text"])
    points.point(process.returncode == 0, f"{script} ends well", complaints)

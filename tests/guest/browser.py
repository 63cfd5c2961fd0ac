# SPDX-License-Identifier: Apache-2.0
"""A real browser on a daemon's web admin: what a script of tests/browser/ needs goes in
GRANARY_BROWSER, and each of its lines of JSON is a test point, or a note when it says nothing of
"good"."""

import contextlib
import json
import os
import re
import subprocess
import tempfile

import api
import node_modules
import web

FOLDER = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "browser")
USER, PASSWORD = "admin", "a pass phrase"
# Less than twice what the tests say that they take (granary-test: timeout=), which ends them.
LIMIT = 600


def needed():
    """What a browser takes; else the test is skipped."""
    return {"node": node_modules.program("node", "nodejs"),
            "chromium": node_modules.program("chromium", "chromium-browser"),
            "modules": node_modules.of_ui()}


@contextlib.contextmanager
def daemon(points, state, *options, name="the daemon"):
    """A daemon that has to stop cleanly."""
    one = api.Daemon(state, *options)
    try:
        yield one
    finally:
        points.point(one.stop() == 0, f"{name} stops cleanly", one.log()[-2000:])


def setup_code(box):
    return re.search(r"^SETUP code=(\S+)", box.log(), re.M).group(1)


def walk(points, found, box, script, set_up=True, **given):
    """@script on a front of the daemon @box, whose first account is there unless not @set_up."""
    front = web.Front(box.state)
    try:
        if set_up:
            front.client().call("POST", "/api/v1/setup", {
                "code": setup_code(box), "name": USER, "password": PASSWORD})
        drive(points, found["node"], script, {
            "url": f"https://127.0.0.1:{front.port}", "user": USER, "password": PASSWORD,
            "chromium": found["chromium"], "modules": found["modules"], "iscsi": box.port,
            "pictures": os.environ.get("PICTURES"),
            "failure": os.path.join(tempfile.gettempdir(),
                                    f"granary-browser-{script.removesuffix('.mjs')}.png"),
            **given})
    finally:
        points.point(front.stop() == 0, "the front stops cleanly", front.log())


def drive(points, node, script, given):
    environment = dict(os.environ, GRANARY_BROWSER=json.dumps(given))
    with subprocess.Popen([node, os.path.join(FOLDER, script)], env=environment,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as process:
        try:
            output, complaints = process.communicate(timeout=LIMIT)
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

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An update of the built image, under QEMU (TCG), to a release that brings the configuration to a newer
schema and then does not serve: it starts three times on trial and is given up, the boot loader goes
back, and the release before serves from the copy of the configuration that it knows. It says so in the
journal, by an alert and on the console; the newer configuration is kept. As root."""

import json
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))
sys.path.insert(0, os.path.join(TOP, "appliance"))
sys.dont_write_bytecode = True

from box import BOOT_LIMIT, Box, TARGET, image  # pylint: disable=wrong-import-position
import formats                                  # pylint: disable=wrong-import-position
import server                                   # pylint: disable=wrong-import-position
import tap                                      # pylint: disable=wrong-import-position
from update_test import unpack                  # pylint: disable=wrong-import-position

# The release that does not work: its daemon, and its granary-update, which does not wait long.
BROKEN = {"granaryd": "tests/guest/later_release", "granary-update": "tests/integration/update_hasty"}

ROWS = 25  # of the screen


def quiet(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def make_bundle(folder):
    """The later release, and the schema of the configuration that the built one knows."""
    built = image()[:-len(".qcow2")] + ".update"
    key = os.path.join(os.path.dirname(built), "update-key.pem")
    sequence, files = unpack(built, folder)
    with open(built, "rb") as file:
        file.seek(8)
        schemas = json.loads(file.read(int.from_bytes(file.read(4), "big")))["schemas"]
    tree, root = os.path.join(folder, "tree"), os.path.join(folder, "later.squashfs")
    quiet("unsquashfs", "-no-progress", "-d", tree, files[2])
    for name, program in BROKEN.items():
        quiet("install", "-m", "755", os.path.join(server.BUILD, program), f"{tree}/usr/sbin/{name}")
    quiet("mksquashfs", tree, root, "-comp", "zstd", "-Xcompression-level", "1", "-noappend",
          "-no-progress", "-xattrs")
    quiet("rm", "-rf", tree)
    bundle = os.path.join(folder, "later.update")
    known = schemas["config"]
    formats.write_bundle(bundle, key, "9.0.0", sequence + 10, [*files[:2], root],
                         {**schemas, "config": known + 1})
    os.truncate(bundle, -(-os.path.getsize(bundle) // 512) * 512)
    return bundle, known


def alert(box, rule):
    """The alert of that rule, as soon as it is there; {} when it does not come."""
    status, shown = box.run(f"for i in $(seq 60); do granary alert list -o json | grep -q {rule} && "
                            "break; sleep 1; done; granary alert list -o json | tr -d '\\n'; echo", 180)
    printed = re.search(r"\[\s*\{.*\}\s*\]", shown)
    found = json.loads(printed.group()) if status == 0 and printed else []
    return next((one for one in found if one["rule"] == rule), {"shown": shown})


def after(points, box, known):
    """What the release before says, and has."""
    status, shown = box.run("granary-update status")
    points.point(status == 0 and "running a next a failed b" in " ".join(shown.split()),
                 "the release before runs, and which slot was given up is known", shown)
    status, shown = box.run("granary target list; granary pool list")
    points.point(status == 0 and TARGET in shown and "tank" in shown and "since-the-update" not in shown,
                 "it serves what was configured before the update", shown)
    status, shown = box.run("cd /var/lib/granary; ls -l config.db*; cd /")
    points.point(f"config.db.newer-v{known + 1}" in shown and f"config.db.v{known}" not in shown,
                 "the copy is in force, and the newer configuration kept", shown)
    status, shown = box.run("journalctl -b --no-pager -u granaryd | grep 'is an older one again'")
    points.point(status == 0 and f"schema version {known + 1}" in " ".join(shown.split()),
                 "the journal says so", shown)
    found = alert(box, "configuration-went-back")
    points.point(found.get("severity") == "critical" and found.get("state") == "firing" and
                 f"config.db.newer-v{known + 1}" in json.dumps(found), "an alert says so", found)
    found = alert(box, "release-given-up")
    points.point(found.get("state") == "firing", "and that the release was given up", found)
    box.unfailed(points, "no unit failed")
    status, shown = box.run("granary target create iqn.2026-11.org.example:afterwards && "
                            "granary target list")
    points.point(status == 0 and "afterwards" in shown, "and it can be configured further", shown)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        bundle, known = make_bundle(folder)
        box = Box(folder, "bios", [bundle])
        try:
            points.point(box.wait("READY", BOOT_LIMIT) is not None, "READY", box.seen[-2000:])
            box.shell()
            status, shown = box.run("granary pool create tank /var/lib/granary/tank.pool:256M && "
                                    f"granary target create {TARGET} && sync")
            points.point(status == 0, "a configuration", shown)
            status, shown = box.run("granary-update install /dev/vdb", 600)
            points.point(status == 0 and "slot b" in shown,
                         "a release with a newer schema of the configuration is installed: there is a "
                         "way back from it", shown)
            box.type("exit\n")
            box.wait("READY", 60)
            box.restarted(points, "it does not serve: the machine is READY with the one before")
            points.point(box.loaders() >= 4, "after three starts on trial",
                         f"{box.loaders()} starts\n{box.history[-3000:]}")
            box.shell()
            after(points, box, known)
            box.type("exit\n")
            points.point(box.wait("! .*configuration from before the update", 60) is not None,
                         "the console says so", box.history[-3000:])
            box.wait("power off", 30)
            drawn = box.history.split("\033[H")[-1]
            points.point("(config.db.newer-v" in drawn and drawn.count("\n") < ROWS,
                         "to the end of the sentence, and nothing scrolls off", drawn)
            box.picture("went-back")
            box.press("l")
            points.point(box.draws("更新前的配置"), "in Chinese as well")
            box.picture("went-back-zh")
        finally:
            box.end()


if __name__ == "__main__":
    tap.run(test)

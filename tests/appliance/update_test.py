#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Updates of the built image under QEMU (TCG): bundles that are forged, damaged, cut off or older are
refused and change nothing; one whose writing is cut off is nothing to go back to; a good one runs from
the other slot, with the data there, until somebody goes back by hand; a signed one that does not start is
given up by the boot loader, which goes back and says so."""

import json
import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))
sys.path.insert(0, os.path.join(TOP, "appliance"))
sys.dont_write_bytecode = True

from box import BOOT_LIMIT, Box, image  # pylint: disable=wrong-import-position
import formats                          # pylint: disable=wrong-import-position
import tap                              # pylint: disable=wrong-import-position


def unpack(bundle, folder):
    """kernel, initrd and root of a bundle, as files."""
    paths = []
    with open(bundle, "rb") as file:
        assert file.read(8) == b"GRANARYU"
        manifest = json.loads(file.read(int.from_bytes(file.read(4), "big")))
        file.read(64)
        for entry in manifest["files"]:
            paths.append(os.path.join(folder, entry["name"]))
            with open(paths[-1], "wb") as out:
                out.write(file.read(entry["size"]))
    return manifest["sequence"], paths


def make_bundles(folder):
    """{name: path}; vdb, vdc, ... in this order."""
    built = image()[:-len(".qcow2")] + ".update"
    key = os.path.join(os.path.dirname(built), "update-key.pem")
    sequence, files = unpack(built, folder)
    names = ("newer", "broken", "forged", "damaged", "short", "older")
    bundles = {name: os.path.join(folder, name + ".update") for name in names}
    garbage = os.path.join(folder, "garbage")
    with open(garbage, "wb") as file:
        file.write(os.urandom(4 << 20))
    stranger = formats.update_key(folder, None)
    formats.write_bundle(bundles["newer"], key, "0.1.1", sequence + 10, files)
    formats.write_bundle(bundles["broken"], key, "0.1.2", sequence + 20, [*files[:2], garbage])
    formats.write_bundle(bundles["forged"], stranger, "9.9.9", sequence + 30, files)
    formats.write_bundle(bundles["older"], key, "0.0.9", sequence - 10, files)
    with open(bundles["newer"], "rb") as source, open(bundles["damaged"], "wb") as damaged, \
            open(bundles["short"], "wb") as short:
        data = bytearray(source.read())
        short.write(data[:len(data) // 2 & ~511])
        data[len(data) // 3] ^= 4
        damaged.write(data)
    for path in bundles.values():
        os.truncate(path, -(-os.path.getsize(path) // 512) * 512)
    return bundles


def refused(points, box, device, what, words):
    status, shown = box.run(f"granary-update install {device}", 300)
    points.point(status == 1 and words in " ".join(shown.split()), f"{what}: refused", shown)
    status, shown = box.run("granary-update status")
    points.point(status == 0 and "running a next a" in " ".join(shown.split()),
                 f"{what}: the running slot stays", shown)


def cut_off(points, box, device):
    """The update dies with kernel and initrd in the slot and a part of the root."""
    status, shown = box.run(f"granary-update install {device} >/tmp/said & for i in $(seq 200); do "
                            "grep -q '^root' /tmp/said && break; sleep 1; done; sleep 1; kill -9 $!; "
                            "granary-update status", 300)
    words = " ".join(shown.split())
    points.point(status == 0 and "running a next a half b (no complete release" in words,
                 "an update that was cut off: its slot is known to be half", shown)
    status, shown = box.run("granary-update rollback")
    points.point(status == 1 and "no complete release to go back to" in " ".join(shown.split()),
                 "and is nothing to go back to", shown)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        bundles = make_bundles(folder)
        device = {name: f"/dev/vd{letter}" for name, letter in zip(bundles, "bcdefg")}
        box = Box(folder, "bios", bundles.values())
        try:
            points.point(box.wait("READY", BOOT_LIMIT) is not None, "READY", box.seen[-2000:])
            box.shell()
            box.run("granary pool create tank /var/lib/granary/tank.pool:1G")
            refused(points, box, device["forged"], "another's signature", "not by this system")
            refused(points, box, device["damaged"], "a flipped bit", "damaged")
            refused(points, box, device["short"], "a bundle cut off", "ends too early")
            refused(points, box, device["older"], "an older release", "--allow-older")
            refused(points, box, "/etc/passwd", "no bundle at all", "no update bundle")
            cut_off(points, box, device["newer"])
            status, shown = box.run(f"granary-update install {device['newer']}", 300)
            points.point(status == 0 and "slot b" in shown, "a newer release is installed", shown)
            box.type("exit\n")
            box.wait("READY", 30)
            box.restarted(points, "it starts")
            box.shell()
            status, shown = box.run("systemctl start granary-health; granary-update status", 300)
            points.point("running b next b" in " ".join(shown.split()) and "trial" not in shown,
                         "and is kept, once it serves", shown)
            status, shown = box.run("granary pool list")
            points.point(status == 0 and "tank" in shown, "with the pool there", shown)
            status, shown = box.run("granary-update rollback")
            points.point(status == 0, "somebody wants the release before", shown)
            box.type("exit\n")
            box.wait("READY", 30)
            box.restarted(points, "which starts")
            box.shell()
            status, shown = box.run("systemctl start granary-health; granary-update status; "
                                    "granary pool list", 300)
            words = " ".join(shown.split())
            points.point("running a next a" in words and "trial" not in words and "tank" in words,
                         "and is kept, with the pool there", shown)
            status, shown = box.run(f"granary-update install {device['broken']}", 300)
            points.point(status == 0 and "slot b" in shown,
                         "a signed release that can not start is installed", shown)
            box.type("exit\n")
            box.wait("READY", 30)
            box.restarted(points, "the boot loader goes back by itself")
            box.shell()
            status, shown = box.run("granary-update status; granary pool list")
            points.point("running a next a failed b" in " ".join(shown.split()) and
                         "tank" in shown, "and says which slot it gave up", shown)
            box.run("systemctl start granary-health")
            status, shown = box.run("for i in $(seq 60); do granary alert list -o json | grep -q "
                                    "release-given-up && break; sleep 1; done; "
                                    "granary alert list -o json | grep release-given-up", 180)
            points.point(status == 0, "and so does an alert", shown)
            box.type("exit\n")
            points.point(box.wait("! The update of granary did not come up", 60) is not None,
                         "and the console", box.history[-3000:])
            box.picture("release-given-up")
        finally:
            box.end()


if __name__ == "__main__":
    tap.run(test)

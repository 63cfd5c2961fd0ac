#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The built image's first start without hands (QEMU, TCG): a NoCloud CD gives name, network, zone,
set-up code and a pool on a disk of its own, once; a volume with a mistake is said on the console,
and the machine starts as it would have without."""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box  # pylint: disable=wrong-import-position
import tap                       # pylint: disable=wrong-import-position
import volume                    # pylint: disable=wrong-import-position

CODE = "AB12-CD34-EF56"
USER = f"""#cloud-config
hostname: barn
timezone: Europe/Zurich
ntp: {{servers: [192.0.2.123]}}
granary:
  setup_code: {CODE}
  pools:
    - name: tank
      devices: [/dev/disk/by-id/virtio-data0]
"""
# The address that QEMU's own network leads to, but given and not asked for.
NETWORK = """version: 2
ethernets:
  lan:
    match: {macaddress: "52:54:00:12:34:56"}
    addresses: [10.0.2.15/24]
    gateway4: 10.0.2.2
    nameservers: {addresses: [10.0.2.3]}
    mtu: 1400
"""
FILES = {"meta-data": "instance-id: i-17\n", "user-data": USER, "network-config": NETWORK}
WRONG = {"meta-data": "instance-id: i-18\n",
         "user-data": "#cloud-config\nhostname: -loft-\ntimezone: Europe/Zurich\n"}


def words_of(shown):
    return " ".join(shown.split())


def settled(points, box, when):
    status, shown = box.run("hostname; date +zone=%Z; cat /run/granary/time.sources; ip -4 addr; "
                            "ip route")
    words = words_of(shown)
    points.point(status == 0 and "barn" in words and "zone=CE" in words and
                 "server 192.0.2.123" in words, f"{when}: name, zone and time servers", shown)
    points.point("10.0.2.15/24" in words and "dynamic" not in words and "mtu 1400" in words and
                 "default via 10.0.2.2" in words, f"{when}: the network, without DHCP", shown)


def taken(points, folder):
    data = os.path.join(folder, "data.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", data, "4G"], check=True)
    box = Box(folder, "bios", options=[
        "-drive", f"file={volume.iso(os.path.join(folder, 'seed.iso'), 'cidata', FILES)},"
        "if=ide,media=cdrom,format=raw,readonly=on",
        "-drive", f"file={data},if=none,id=data", "-device", "virtio-blk-pci,drive=data,serial=data0"])
    try:
        if not points.point(box.wait("READY", BOOT_LIMIT) is not None, "with a NoCloud CD: READY",
                            box.seen[-3000:]):
            return
        box.type("\f")
        screen = box.history + (box.wait("power off", 60) or "")
        points.point("barn" in screen and CODE in screen and "10.0.2.15" in screen,
                     "the console has the name, the address and the code", screen[-3000:])
        box.shell()
        settled(points, box, "at once")
        status, shown = box.run("for i in $(seq 180); do granary pool show tank >/dev/null 2>&1 && "
                                "break; sleep 1; done; granary pool show tank -o json; "
                                "granary pool list", 240)
        points.point(status == 0 and "vdb" in shown + box.run("ls -l /dev/disk/by-id")[1] and
                     '"online"' in shown, "the pool is made on its disk", shown)
        status, shown = box.run("systemctl is-active granary-seed; findmnt /run/granary-seed")
        points.point("inactive" not in shown and status == 1, "nothing stays mounted", shown)
        box.unfailed(points, "no unit failed")
        status, body, _ = box.call("POST", "/setup", {"name": "eve", "password": "correct horse 7",
                                                      "code": CODE})
        points.point(status == 201, "the code makes the first account", body)
        box.type("exit\n")
        box.wait("READY", 60)
        box.restarted(points, "it starts again")
        box.shell()
        settled(points, box, "after a restart")
        status, shown = box.run("systemctl show -p ConditionResult granary-seed; granary pool list")
        points.point("ConditionResult=no" in shown and "tank" in shown,
                     "and is not told a second time", shown)
    finally:
        box.end()


def wrong(points, folder):
    box = Box(folder, "bios", [volume.vfat(os.path.join(folder, "seed.img"), "CIDATA", WRONG)])
    try:
        if not points.point(box.wait("READY", BOOT_LIMIT) is not None, "with a mistake: READY",
                            box.seen[-3000:]):
            return
        box.type("\f")
        screen = box.history + (box.wait("power off", 60) or "")
        points.point("was not taken" in screen and "-loft- is none" in screen,
                     "the console says what is wrong", screen[-3000:])
        box.shell()
        status, shown = box.run("hostname; date +zone=%Z; ls /var/lib/granary/host; ip -4 addr")
        points.point(status == 0 and "loft" not in shown and "zone=UTC" in shown and "settings.json" not in shown and
                     "10.0.2." in shown, "and nothing of it was taken", shown)
        box.unfailed(points, "no other unit failed", but=("granary-seed.service",))
    finally:
        box.end()


def test(points):
    for part in (taken, wrong):
        with tempfile.TemporaryDirectory() as folder:
            part(points, folder)


if __name__ == "__main__":
    tap.run(test)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one asan
"""granary lun check: every profile on a good LUN, and what is said of LUNs that are read only, a
CD-ROM, reserved, numbered too high or behind a mask; a check changes nothing, on the LUN or for
the hosts that use it."""

import json
import os
import struct
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

IQN = "iqn.2026-11.org.granary:profiles"
PROFILES = ("esxi", "xenserver", "windows", "ovirt", "proxmox", "kvm")
DISK, READ_ONLY, DISC, FAR = 0, 1, 2, 300


class Report:
    """`granary lun check`; status, text, and {name: check} of its JSON."""

    def __init__(self, server, lun, profile, *more):
        words = [os.path.join(daemon.BUILD, "granary"), "--state", server.state, "lun", "check",
                 IQN, str(lun), *(["--profile", profile] if profile else []), *more]
        result = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                                timeout=60)
        self.status, self.text = result.returncode, result.stdout + result.stderr
        self.checks = {}
        if "-o" in more and result.stdout.startswith("{"):
            self.json = json.loads(result.stdout)
            self.checks = {check["name"]: check for check in self.json["checks"]}

    def verdict(self, name):
        return self.checks.get(name, {}).get("verdict")

    def says(self, name, verdict, words):
        return self.verdict(name) == verdict and words in self.checks[name]["text"]


# An RBD pool has no watermarks.
LESS = {"thresholds"} if daemon.CEPH else set()


def check(server, lun, profile):
    return Report(server, lun, profile, "-o", "json")


def good(points, server):
    report = check(server, DISK, "esxi")
    points.point(report.status == 0 and report.says("stable writes", "less", "write cache is on") and
                 all(one["verdict"] == "good" for name, one in report.checks.items()
                     if name not in {"stable writes"} | LESS), "esxi: all but a write cache that is off",
                 report.text)
    server.granary("lun", "set", IQN, str(DISK), "--write-cache", "off")
    for profile in PROFILES:
        report = check(server, DISK, profile)
        missing = [one for name, one in report.checks.items()
                   if one["verdict"] != "good" and name not in LESS]
        points.point(report.status == 0 and report.json["fits"] and not missing and
                     len(report.checks) >= 10, f"{profile}: all of {len(report.checks)} checks",
                     report.text)
    report = Report(server, DISK, "esxi")
    points.point(report.status == 0 and "does all that is needed for esxi" in report.text and
                 "COMPARE AND WRITE of a block with itself" in report.text and
                 "heartbeats" in report.text, "in words, with what each is for", report.text)
    naa = json.loads(server.granary("volume", "show", "tank/disk", "-o", "json"))["naa"]
    points.point(f"naa.{naa}" in report.text, "the identity is the volume's", report.text)


def unfit(points, server):
    report = check(server, READ_ONLY, "esxi")
    points.point(report.status == 1 and not report.json["fits"] and
                 report.says("writing", "bad", "read only") and
                 report.says("atomic test and set", "bad", "read only") and
                 report.says("unmap", "less", "read only") and
                 report.verdict("reading") == "good", "esxi: a read-only LUN", report.text)
    report = check(server, DISC, "esxi")
    points.point(report.status == 1 and report.says("disk", "bad", "CD-ROM") and
                 report.says("capacity", "bad", "2048") and
                 report.says("reading", "bad", "not tried") and
                 report.says("persistent reservations", "bad", "does not have this command"),
                 "esxi: a CD-ROM", report.text)
    points.point("does not do what is needed for esxi" in Report(server, DISC, "esxi").text,
                 "and says so")
    report = check(server, FAR, "windows")
    points.point(report.status == 1 and report.says("LUN number", "bad", "254") and
                 report.verdict("writing") == "good", "windows: a number it does not look at",
                 report.text)
    points.point(check(server, FAR, "kvm").status == 0, "which Linux does")


def questions(points, server):
    report = Report(server, DISK, "solaris")
    points.point(report.status == 1 and "no host profile solaris" in report.text, "no such profile",
                 report.text)
    points.point(Report(server, DISK, None).status == 2, "without one")
    report = Report(server, 77, "esxi")
    points.point(report.status == 1 and "no LUN 77" in report.text, "no such LUN", report.text)


def registers(host, key):
    data = struct.pack(">QQ8x", 0, key)
    return host.command(struct.pack(">BBBHIB", 0x5F, 6, 0, 0, 24, 0), data)


def generation(host):
    return host.command(struct.pack(">BB5xHx", 0x5E, 0, 64), expected=64).data


def beside_hosts(points, server):
    with iscsi.Connection(server.address, server.port) as host:
        host.login(IQN)
        while host.command(bytes(6)).status:
            pass
        text = bytes(range(256)) * 2
        host.write(0, text)
        registers(host, 0xAB)
        before = generation(host)
        report = check(server, DISK, "windows")
        points.point(report.status == 0 and
                     report.says("persistent reservations", "good", "1 registrations"),
                     "with a registered host: nothing is tried", report.text)
        points.point(generation(host) == before, "and its registration is as it was")
        points.point(host.read(0, 1) == text and host.command(bytes(6)).status == 0,
                     "the data is what it was; the session has noticed nothing")
        host.command(struct.pack(">BBBHIB", 0x5F, 1, 1, 0, 24, 0), struct.pack(">QQ8x", 0xAB, 0))
        report = check(server, DISK, "esxi")
        points.point(report.status == 1 and report.says("writing", "bad", "host has reserved") and
                     report.verdict("reading") == "good",
                     "a LUN that a host has reserved for writing says so", report.text)
        host.command(struct.pack(">BBBHIB", 0x5F, 3, 0, 0, 24, 0), struct.pack(">QQ8x", 0xAB, 0))
        server.granary("host", "create", "nobody", "iqn.2026-11.org.granary:nobody")
        server.granary("lun", "mask", IQN, str(DISK), "nobody")
        points.point(check(server, DISK, "kvm").status == 0,
                     "a LUN that only others see is checked all the same")
    sessions = server.granary("session", "list")
    points.point("granary:check" not in sessions, "no check is left", sessions)


def used(server):
    return json.loads(server.granary("volume", "show", "tank/empty", "-o", "json"))["used_bytes"]


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-profile-") as folder:
        server = daemon.Server(os.path.join(folder, "state"))
        try:
            server.granary("target", "create", IQN)
            server.granary("target", "allow", IQN, "--network", "127.0.0.0/8")
            for name, lun, *mode in (("disk", DISK), ("ro", READ_ONLY, "--ro"),
                                     ("disc", DISC, "--cdrom"), ("empty", FAR)):
                server.granary("volume", "create", f"tank/{name}", "32M")
                server.granary("lun", "map", IQN, f"tank/{name}", "--lun", str(lun), *mode)
            good(points, server)
            unfit(points, server)
            points.point(used(server) <= 4096, "of an empty volume one slot is in use at most",
                         used(server))
            questions(points, server)
            beside_hosts(points, server)
        finally:
            points.point(server.stop() == 0, "the daemon stops cleanly", server.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)

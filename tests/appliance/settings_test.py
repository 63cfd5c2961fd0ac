#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The machine's settings from the console's menus (QEMU, TCG): a bond of two ports with a VLAN on it
is confirmed and outlives a restart; a network that nobody confirms goes back;
time servers, name, password of a web account; the helper answers to nobody but root."""

import os
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box  # pylint: disable=wrong-import-position
import tap                       # pylint: disable=wrong-import-position

# Two ports that lead nowhere, beside the one that has the LUNs.
NICS = [word for number in (1, 2) for word in
        ("-netdev", f"hubport,id=n{number},hubid={number}",
         "-device", f"virtio-net-pci,netdev=n{number}")]
MENU = r"4 bond.*\n> "


def network(points, box):
    good = box.answer(("power off", "n"), (MENU, "4\n"), (r"\[bond0\]: ", "\n"),
                      ("between them: ", "ens5 ens6\n"), (r"LACP.*\n> ", "1\n"),
                      (r"\[DHCP\]: ", "192.0.2.7/24\n"), (r"\[none\]: ", "\n"),
                      (r"MTU \[1500\]: ", "9000\n"), (r"Name servers.*: ", "192.0.2.53\n"),
                      ("when it works: ", "y\n"), ("Kept", ""), ("Enter goes on", "\n"))
    points.point(good, "a bond is set and confirmed", box.seen[-2000:])
    good = box.answer(("power off", "n"), (MENU, "3\n"), ("above.: ", "bond0\n"),
                      ("1 to 4094.: ", "42\n"), (r"\[DHCP\]: ", "198.51.100.7/24\n"),
                      (r"\[none\]: ", "\n"), (r"MTU \[1500\]: ", "\n"), (r"Name servers.*: ", "\n"),
                      ("when it works: ", "y\n"), ("Kept", ""), ("Enter goes on", "\n"))
    points.point(good, "a VLAN on it is set and confirmed", box.seen[-2000:])
    good = box.answer(("power off", "n"), (MENU, "3\n"), ("above.: ", "bond0\n"),
                      ("1 to 4094.: ", "43\n"), (r"\[DHCP\]: ", "203.0.113.7/24\n"),
                      (r"\[none\]: ", "\n"), (r"MTU \[1500\]: ", "\n"), (r"Name servers.*: ", "\n"),
                      ("when it works: ", "n\n"), ("goes back", ""), ("Enter goes on", "\n"))
    points.point(good, "a VLAN that does not work is not confirmed", box.seen[-2000:])
    good = box.answer(("power off", "n"), (MENU, "2\n"), ("above.: ", "ens7\n"),
                      (r"\[DHCP\]: ", "192.0.2.300/24\n"), (r"\[none\]: ", "\n"),
                      (r"MTU \[1500\]: ", "\n"), (r"Name servers.*: ", "\n"), ("is none", ""),
                      ("Enter goes on", "\n"))
    points.point(good, "an address that is none is refused with a sentence", box.seen[-2000:])


def links(points, box, when):
    status, shown = box.run("ip -d address show bond0")
    points.point(status == 0 and "mode active-backup" in shown and "mtu 9000" in shown and
                 "192.0.2.7/24" in shown, f"{when}: the bond is there", shown)
    status, shown = box.run("ip -d address show vlan42")
    points.point(status == 0 and "id 42" in shown and "198.51.100.7/24" in shown,
                 f"{when}: the VLAN is there", shown)
    status, shown = box.run("ip link show vlan43")
    points.point(status == 1, f"{when}: and not the other", shown)


def others(points, box):
    good = box.answer(("power off", "t"), (r"pool\]: ", "10.0.2.2 192.0.2.9\n"),
                      (r"as it is\]: ", "Europe/Zurich\n"), ("Done", ""), ("Enter goes on", "\n"))
    points.point(good, "time servers and zone are set", box.seen[-2000:])
    good = box.answer(("power off", "h"), ("machine: ", "barn\n"), ("Done", ""),
                      ("Enter goes on", "\n"))
    points.point(good, "the name is set", box.seen[-2000:])


def times(points, box, when):
    status, shown = box.run("cat /run/granary/time.sources; date +zone=%Z; hostname")
    points.point(status == 0 and "server 192.0.2.9 iburst" in shown and "zone=CET" in shown and
                 "barn" in shown, f"{when}: time servers, zone and name", shown)
    status, shown = box.run("systemctl is-active chrony granary-web granary-hostd systemd-resolved")
    points.point(status == 0 and "inactive" not in shown and "activating" not in shown,
                 f"{when}: all services run", shown)
    box.unfailed(points, f"{when}: none failed")


def commands(points, box):
    """The same through the API, by its command."""
    status, shown = box.run("granary appliance show -o json > /tmp/now.json; "
                            "sed 's/198.51.100.7/198.51.100.8/' /tmp/now.json > /tmp/next.json; "
                            "granary appliance network /tmp/next.json; "
                            "granary appliance show; ip -brief address show vlan42")
    points.point(status == 0 and "198.51.100.8/24" in shown, "a network by command is in force",
                 shown)
    status, shown = box.run("granary appliance revert; granary appliance confirm; "
                            "granary appliance show")
    points.point(status == 0 and "no settings wait" in shown and "198.51.100.7/24" in shown,
                 "and goes back by command", shown)
    status, shown = box.run("granary appliance network /etc/passwd")
    points.point(status == 1, "what is no network is refused", shown)


def password(points, box):
    code = box.run("granary setup code")[1]
    code = next((word for word in code.split() if word.count("-") == 2 and len(word) == 14), "")
    account = {"name": "eve", "password": "correct horse 7"}
    status, body, _ = box.call("POST", "/setup", {**account, "code": code})
    points.point(status == 201, "an account is made", f"{body} {code}")
    box.type("exit\n")
    good = box.answer(("power off", "w"), ("web admin: ", "eve\n"),
                      ("not shown.: ", "battery staple 8\n"), ("Once more: ", "battery staple 8\n"),
                      ("Done", ""), ("Enter goes on", "\n"))
    points.point(good, "its password is set anew", box.seen[-2000:])
    status, body, _ = box.call("POST", "/login", account)
    points.point(status == 401, "the old one is none any more", body)
    status, body, _ = box.call("POST", "/login", {**account, "password": "battery staple 8"})
    points.point(status == 200, "the new one is", body)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        box = Box(folder, "bios", options=NICS)
        try:
            points.point(box.wait("READY", BOOT_LIMIT) is not None, "READY", box.seen[-2000:])
            network(points, box)
            others(points, box)
            points.point(box.wait("power off", 60) is not None and box.shell(), "shell")
            links(points, box, "at once")
            times(points, box, "at once")
            status, shown = box.run(
                "mkdir -p /tmp/h && ln -sf /run/granary/host.sock /tmp/h/control.sock && "
                "setpriv --reuid nobody --clear-groups granary --state /tmp/h appliance show")
            points.point(status != 0, "the helper answers to nobody but root", shown)
            commands(points, box)
            password(points, box)
            box.restarted(points, "it starts again")
            box.shell()
            links(points, box, "after a restart")
            times(points, box, "after a restart")
        finally:
            box.end()


if __name__ == "__main__":
    tap.run(test)

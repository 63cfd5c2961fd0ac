#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What goes wrong with a built image's disks and cards under QEMU (TCG), and leaves it in hands: a
full state partition, a damaged configuration or backup of it, a data disk that is missing, network
cards in another order, a state partition whose superblock was written by half or that is none any more. Each is said on the console, which
always has its shell."""

import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box, TARGET, overlay  # pylint: disable=wrong-import-position
import kept                              # pylint: disable=wrong-import-position
import tap                               # pylint: disable=wrong-import-position

ACCOUNT = {"name": "eve", "password": "correct horse 7"}
STATE = "/dev/disk/by-partlabel/state"
# A second port, which leads nowhere.
OTHER = ["-netdev", "hubport,id=other,hubid=1"]
FIRST, SECOND = "addr=0x10", "addr=0x11"


def cards(outside, other):
    """Where the two ports sit: for Box(nic=, options=)."""
    return {"nic": f"virtio-net-pci,{outside}",
            "options": [*OTHER, "-device", f"virtio-net-pci,netdev=other,{other}"]}


def screen(box, wanted, limit=120):
    """The console's screen once it shows @wanted, from the shell."""
    box.type("exit\n")
    shown = box.wait(wanted, limit)
    if shown is None:
        return None
    box.type("\f")  # a whole one, by itself
    return shown + (box.wait("power off", 60) or "")


def sign_in(points, box, when):
    """The web front gives a client 15 s to say what it wants, which is little for a guest whose host
    does much else: three times."""
    for _ in range(3):
        try:
            status, body, _ = box.call("POST", "/login", ACCOUNT)
            break
        except OSError as error:
            status, body = 0, str(error)
            points.note(f"{when}: {error}")
            time.sleep(5)
    if status != 200:
        body = f"{body}\n{box.run('journalctl -b --no-pager -n 60 -u granaryd -u granary-web')[1]}"
    return points.point(status == 200, f"{when}: the web front lets the administrator in", body)


def not_mounted(points, box):
    """Whatever it was: the daemon does not run on what is gone with the next start."""
    status, shown = box.run("systemctl show -p FragmentPath var-lib-granary.mount")
    points.point("/etc/systemd/system/" in shown, "no generator is needed for the state partition",
                 shown)
    box.run("systemctl stop granary-hostd granary-smart granaryd; umount -l /var/lib/granary; "
            "mv /etc/systemd/system/var-lib-granary.mount /run; systemctl daemon-reload")
    status, shown = box.run("systemctl start granaryd; pidof granaryd")
    points.point(status == 1, "without the state partition the daemon does not start", shown)
    box.type("exit\n")
    points.point(box.wait("state partition can not be used", 120) is not None,
                 "and the console says why", box.history[-2000:])
    box.wait("power off", 60)
    box.shell()


def prepare(points, box):
    for command in ("granary pool create local /var/lib/granary/local.pool:1G",
                    "granary pool create tank /dev/disk/by-id/virtio-data0",
                    "granary volume create tank/disk 64M", "granary volume create local/disk 64M",
                    f"granary target create {TARGET}",
                    f"granary lun map {TARGET} local/disk --lun 0",
                    f"granary lun map {TARGET} tank/disk --lun 1",
                    f"granary target allow {TARGET} --network 0.0.0.0/0"):
        status, shown = box.run(command, 240)
        points.point(status == 0, " ".join(command.split()[:4]), shown)
    code = next((word for word in box.run("granary setup code")[1].split()
                 if word.count("-") == 2 and len(word) == 14), "")
    status, body, _ = box.call("POST", "/setup", {**ACCOUNT, "code": code})
    points.point(status == 201, "an administrator", body)


def full(points, box):
    box.run("fallocate -l $(df --output=avail -B1 /var/lib/granary | tail -1) "
            "/var/lib/granary/filler; for i in 1 2 3; do dd if=/dev/zero bs=4k "
            "of=/var/lib/granary/filler$i; done; df /var/lib/granary", 600)
    status, shown = box.run("granary target create iqn.2026-11.org.granary:more")
    points.point(status == 1 and "no space" in shown.lower(),
                 "full state partition: a change is refused with a sentence", shown)
    status, shown = box.run("systemctl restart granaryd; for i in $(seq 120); do granary status "
                            ">/dev/null 2>&1 && break; sleep 1; done; granary target list", 300)
    points.point(status == 0 and TARGET in shown, "it serves what it had after a restart", shown)
    sign_in(points, box, "full state partition")
    shown = screen(box, "! The disk of the state directory is full") or ""
    points.point("READY" in shown, "the console works, and says it", box.history[-2000:])
    box.shell()
    box.run("rm /var/lib/granary/filler*")
    status, shown = box.run("granary target create iqn.2026-11.org.granary:more")
    points.point(status == 0, "with room again the change is made", shown)


def damaged(points, box):
    box.run("echo correct horse > /tmp/phrase")
    status, shown = box.run("granary config backup /var/lib/granary/kept --passphrase-file "
                            "/tmp/phrase")
    points.point(status == 0, "a backup of the configuration", shown)
    box.run("systemctl stop granaryd; dd if=/dev/urandom of=/var/lib/granary/config.db bs=4k "
            "count=4 conv=notrunc; systemctl start granaryd")
    shown = screen(box, "is not a database") or ""
    points.point("config.db: file is not a database" in shown and "granary config restore" in shown,
                 "damaged configuration: the console says it and what can be done",
                 shown or box.history[-3000:])
    box.picture("damaged-configuration")
    try:
        status, body, _ = box.call("GET", "/setup")
    except OSError as error:
        status, body = 0, str(error)
    points.point(status == 503, "and the web front that there is no service", f"{status} {body}")
    box.shell()
    status, shown = box.run("systemctl stop granaryd; granary config restore /var/lib/granary/kept "
                            "--passphrase-file /tmp/phrase --yes; systemctl start granaryd; "
                            "for i in $(seq 120); do granary status >/dev/null 2>&1 && break; "
                            "sleep 1; done; granary target list", 300)
    points.point(status == 0 and TARGET in shown, "the backup is restored in its shell", shown)
    sign_in(points, box, "restored")


def half_restored(points, box):
    """A restore that was cut off half way, and what it was to bring can not be read: never parts of two."""
    box.run("systemctl stop granaryd; printf garbage > /var/lib/granary/restore.begun; systemctl start granaryd")
    shown = screen(box, "has parts of two") or ""
    points.point("granary config restore FILE" in shown,
                 "half of a restore: the console says it and what can be done", shown or box.history[-3000:])
    box.picture("half-restored")
    try:
        status, body, _ = box.call("GET", "/setup")
    except OSError as error:
        status, body = 0, str(error)
    points.point(status == 503, "half of a restore: the web front says that there is no service",
                 f"{status} {body}")
    box.shell()
    status, shown = box.run("systemctl stop granaryd; granary config restore /var/lib/granary/kept "
                            "--passphrase-file /tmp/phrase --yes; systemctl start granaryd; "
                            "for i in $(seq 120); do granary status >/dev/null 2>&1 && break; "
                            "sleep 1; done; ls /var/lib/granary/restore.*; granary target list", 300)
    points.point(status == 0 and TARGET in shown and "restore.begun" not in shown,
                 "half of a restore: the backup is restored in its shell", shown)


def restore_damaged(points, box):
    """A backup that was staged in the browser, and what it holds can not be read at the start."""
    status, shown = box.run("printf garbage > /var/lib/granary/restore.ready; "
                            "systemctl restart granaryd; for i in $(seq 120); do granary status "
                            ">/dev/null 2>&1 && break; sleep 1; done; granary target list", 300)
    points.point(status == 0 and TARGET in shown,
                 "damaged restore: it serves with the configuration it had", shown)
    shown = screen(box, "! The backup to be restored was damaged") or ""
    points.point("READY" in shown, "damaged restore: the console says that nothing was restored",
                 shown or box.history[-3000:])
    box.shell()
    status, shown = box.run("for i in $(seq 60); do granary alert list -o json | grep restore-damaged "
                            "&& break; sleep 1; done; granary alert list -o json | "
                            "grep -q restore-damaged", 180)
    points.point(status == 0, "and so does an alert", shown)
    box.picture("restore-damaged")  # the machine's own screen has had its time by now
    sign_in(points, box, "damaged restore")
    box.run("rm /var/lib/granary/restore.damaged")


def fix_address(points, box):
    """The port that leads out stays by DHCP; the other one gets an address of its own."""
    status, shown = box.run("""echo '{"links": [{"name": "ens17", "ipv4": "static", """
                            """"addresses": ["192.0.2.7/24"]}], "dns": []}' > /tmp/net; """
                            "for i in $(seq 10); do granary appliance network /tmp/net && "
                            "granary appliance confirm && break; sleep 3; done", 400)
    points.point(status == 0, "the second port has a fixed address", shown)


def without(points, box):
    shown = box.history
    box.type("\f")
    shown += box.wait("power off", 60) or ""
    points.point("tank  unavailable" in shown, "missing data disk: the console says which pool",
                 shown[-3000:])
    told = box.wait(r"ens17  \S+ -> \S+", 60) or ""
    points.point("192.0.2.7  (ens17)" in shown + told and "other cards" in told,
                 "other card order: the console says which port has another one", shown + told)
    box.type("\f")
    points.point(box.wait("! Pool tank is not available", 60) is not None,
                 "missing data disk: and that nothing on it is served", box.history[-3000:])
    box.picture("other-cards")
    box.shell()
    status, shown = box.run("granary pool show tank; granary target list")
    points.point(status == 0 and "virtio-data0" in shown and TARGET in shown,
                 "missing data disk: the pool says which disk, the target is served", shown)
    box.type("exit\n")
    good = box.answer(("power off", "n"), ("4 bond.*\n> ", "1\n"), ("Name servers.*: ", "\n"),
                      ("when it works: ", "y\n"), ("Kept", ""), ("Enter goes on", "\n"))
    points.point(good, "other card order: the console's menu mends it", box.seen[-2000:])
    points.point(box.wait(r"10\.0\.2\.\d+", 120) is not None, "and it has its address", box.seen)
    for _ in range(8):  # the helper looks every ten seconds; what was drawn before is read too
        time.sleep(4)
        box.type("\f")
        shown = box.wait("power off", 60) or ""
        if "Addresses" in shown and "other cards" not in shown:
            break
    points.point("Addresses" in shown and "other cards" not in shown, "and is settled", shown)
    box.shell()
    sign_in(points, box, "other card order")
    read = subprocess.run(["qemu-io", "-r", "-f", "raw", "-c", "read 0 1M", box.url(0)],
                          capture_output=True, text=True, timeout=300, check=False)
    points.point(read.returncode == 0, "missing data disk: the other pool's LUN is read",
                 read.stdout + read.stderr)


def half_superblock(points, folder, disk):
    """The machine's disk, which was switched off as it ran, with a superblock that was written by half."""
    raw = os.path.join(folder, "torn.raw")
    subprocess.run(["qemu-img", "convert", "-O", "raw", disk, raw], check=True)
    status = kept.tear(raw, folder)
    points.point(status == 8, "half a superblock: e2fsck -p does not take it", status)
    return overlay(os.path.join(folder, "torn.qcow2"), raw, "raw")


def mended(points, box):
    status, shown = box.run("journalctl --no-pager -b -u granary-state; "
                            "journalctl --no-pager -b -u 'systemd-fsck@*'")
    points.point(status == 0 and "its checksum is mended" in " ".join(shown.split()),
                 "half a superblock: it is mended before the check", shown)
    box.unfailed(points, "half a superblock: no unit failed")


def no_state(points, box):
    """Every copy of the state partition's superblock goes; nobody unmounts before the restart."""
    box.shell()
    box.history = ""
    box.type(f"for i in 0 1 3 5 7 9 25 27 49 81; do dd if=/dev/zero of={STATE} bs=4k count=8 "
             "seek=$((i * 32768)) conv=notrunc,fsync; done; echo b > /proc/sysrq-trigger\n")
    shown = box.wait("state partition can not be used", BOOT_LIMIT)
    if not points.point(shown is not None, "no state partition: the console says so",
                        box.history[-3000:]):
        return
    points.point(box.wait("power off", 60) is not None and box.shell(), "and gives a shell")
    status, shown = box.run("systemctl is-active granaryd; ss -Htln | wc -l | sed s/^/listening=/")
    points.point("listening=0" in shown, "nothing listens", shown)
    box.picture("emergency")
    status, shown = box.run(f"mkfs.ext4 -q -F {STATE}", 300)
    points.point(status == 0, "it is made anew there", shown)
    box.type("exit\n")
    box.wait("power off", 60)
    box.restarted(points, "and the machine starts")
    box.shell()
    status, shown = box.run("granary pool import /dev/disk/by-id/virtio-data0; granary volume list")
    points.point(status == 0 and re.search(r"tank +disk", shown), "pools are imported", shown)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        data = os.path.join(folder, "data.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", data, "4G"], check=True)
        disk = ["-drive", f"file={data},if=none,id=data", "-device",
                "virtio-blk-pci,drive=data,serial=data0"]
        place = cards(FIRST, SECOND)
        box = Box(folder, "bios", nic=place["nic"], options=place["options"] + disk)
        try:
            if not points.point(box.wait("READY", BOOT_LIMIT) is not None, "READY",
                                box.history[-3000:]):
                return
            box.shell()
            prepare(points, box)
            full(points, box)
            damaged(points, box)
            half_restored(points, box)
            restore_damaged(points, box)
            fix_address(points, box)
            box.run("sync")
            not_mounted(points, box)
        finally:
            box.end()
        box = Box(folder, "bios", disk=box.disk, **cards(SECOND, FIRST))
        try:
            if points.point(box.wait("READY", BOOT_LIMIT) is not None,
                            "READY without its data disk, cards changed", box.history[-3000:]):
                without(points, box)
                box.run("sync")
        finally:
            box.end()
        box = Box(folder, "bios", disk=half_superblock(points, folder, box.disk), nic=place["nic"],
                  options=place["options"] + disk)
        try:
            shown = box.wait("READY", BOOT_LIMIT)
            points.point(shown is not None, "READY with all of it again, and half a superblock",
                         box.history[-3000:])
            box.shell()
            mended(points, box)
            status, shown = box.run("granary pool list")
            points.point(status == 0 and "unavailable" not in shown and "tank" in shown,
                         "the pool is there again", shown)
            box.type("exit\n")
            box.wait("power off", 60)
            no_state(points, box)
        finally:
            box.end()


if __name__ == "__main__":
    tap.run(test)

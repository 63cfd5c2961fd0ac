#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The built image under QEMU (TCG): by BIOS, by UEFI and by UEFI with Secure Boot it comes to READY
on its console; a pool and a LUN made there are used by a real initiator from outside; the data is
there after a reboot. APPLIANCE_FIRMWARE=bios,uefi,secure picks what to boot with (default: all)."""

import glob
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

BOOT_LIMIT = 600
TARGET = "iqn.2026-11.org.granary:box"
SIZE = 64 << 20


def image():
    found = sorted(glob.glob(os.path.join(daemon.BUILD, "appliance/granary-*.qcow2")))
    if not found:
        sys.exit("no build/appliance/granary-*.qcow2: run make appliance first")
    return found[-1]


def firmware_options(firmware, folder):
    if firmware == "bios":
        return []
    kind = ".ms" if firmware == "secure" else ""
    variables = os.path.join(folder, "variables.fd")
    shutil.copy(f"/usr/share/OVMF/OVMF_VARS_4M{kind}.fd", variables)
    code = "/usr/share/OVMF/OVMF_CODE_4M" + (".secboot.fd" if firmware == "secure" else ".fd")
    return ["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
            "-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={code}",
            "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]


class Box:
    """One appliance: a fresh disk on the built image, its serial console, its iSCSI port."""

    def __init__(self, folder, firmware):
        disk = os.path.join(folder, "disk.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", image(), "-F", "qcow2",
                        disk, "12G"], check=True)
        self.port = daemon.free_port()
        self.seen = ""
        path = os.path.join(folder, "serial")
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2",
             "-m", "1024", "-display", "none", "-monitor", "none",
             *firmware_options(firmware, folder),
             "-chardev", f"socket,id=serial,path={path}", "-serial", "chardev:serial",
             "-drive", f"file={disk},if=virtio,cache=unsafe",
             "-nic", f"user,model=virtio-net-pci,hostfwd=tcp:127.0.0.1:{self.port}-:3260"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.listener.settimeout(60)
        self.serial = self.listener.accept()[0]
        self.serial.settimeout(1)

    def wait(self, text, limit):
        """Reads the console until @text; what stood before it. None when the time is over."""
        end = time.monotonic() + limit
        while True:
            found = re.search(text, self.seen)
            if found:
                before, self.seen = self.seen[:found.end()], self.seen[found.end():]
                return before
            if time.monotonic() > end or self.process.poll() is not None:
                return None
            try:
                self.seen += self.serial.recv(65536).decode("utf-8", "replace")
            except socket.timeout:
                pass

    def type(self, text):
        self.serial.sendall(text.encode())

    def run(self, command, limit=120):
        """A command in the console's shell; (exit status, output)."""
        self.type(f"{command}; echo \"@@\"$?@@\n")
        shown = self.wait(r"@@\d+@@", limit)
        if shown is None:
            return None, self.seen
        return int(re.search(r"@@(\d+)@@", shown).group(1)), shown

    def url(self, lun=0):
        return f"iscsi://127.0.0.1:{self.port}/{TARGET}/{lun}"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.serial.close()
        self.listener.close()


def outside(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300)


def make_lun(points, box):
    box.type("s")
    points.point(box.wait(r"granary help", 30) is not None, "the console gives a shell")
    time.sleep(1)
    for command in ("granary pool create tank /var/lib/granary/tank.pool:4G",
                    "granary volume create tank/disk 1G",
                    f"granary target create {TARGET}",
                    f"granary lun map {TARGET} tank/disk",
                    f"granary target allow {TARGET} --network 0.0.0.0/0"):
        status, shown = box.run(command)
        points.point(status == 0, command.split(TARGET)[0].strip(), shown)
    status, shown = box.run("findmnt -no FSTYPE,SIZE /var/lib/granary && systemctl is-active "
                            "granaryd && systemctl --failed --no-legend --plain")
    points.point(status == 0 and "ext4" in shown and "active" in shown and
                 ".service loaded" not in shown, "the state partition took the disk, no unit failed",
                 shown)
    status, shown = box.run("granary status -o json; uname -r")
    points.point(status == 0 and '"uring"' in shown, "io_uring on Debian's kernel", shown)
    _, shown = box.run("systemd-analyze security granaryd --no-pager | tail -1")
    points.note("systemd-analyze: " + " ".join(re.findall(r"Overall.*", shown)[-1:]))


def use_lun(points, box, data, fresh):
    shown = outside("iscsi-ls", f"iscsi://127.0.0.1:{box.port}")
    points.point(shown.returncode == 0 and TARGET in shown.stdout, "iscsi-ls from outside",
                 shown.stdout + shown.stderr)
    if fresh:
        written = outside("qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", data, box.url())
        points.point(written.returncode == 0, "a real initiator writes", written.stderr)
    compared = outside("qemu-img", "compare", "-f", "raw", "-F", "raw", data, box.url())
    points.point(compared.returncode == 0, "a real initiator reads it back",
                 compared.stdout + compared.stderr)


def boot(points, firmware, data):
    with tempfile.TemporaryDirectory() as folder:
        started = time.monotonic()
        box = Box(folder, firmware)
        try:
            shown = box.wait("READY", BOOT_LIMIT)
            ready = time.monotonic() - started
            if not points.point(shown is not None, f"{firmware}: READY on the console",
                                box.seen[-3000:]):
                return
            points.note(f"{firmware}: READY after {ready:.0f} s (TCG)")
            points.point("10.0.2." in shown or box.wait(r"10\.0\.2\.\d+", 60) is not None,
                         "the console shows the address")
            make_lun(points, box)
            use_lun(points, box, data, True)
            box.type("exit\n")
            points.point(box.wait("READY", 30) is not None, "back from the shell")
            box.type("r")
            points.point(box.wait("Type y", 30) is not None, "the console asks before a restart")
            box.type("y")
            points.point(box.wait("READY", BOOT_LIMIT) is not None, "READY after the restart",
                         box.seen[-3000:])
            use_lun(points, box, data, False)
            box.type("p")
            box.wait("Type y", 30)
            box.type("y")
            try:
                points.point(box.process.wait(120) == 0, "powers off")
            except subprocess.TimeoutExpired:
                points.point(False, "powers off", box.seen[-2000:])
        finally:
            box.end()


def test(points):
    with tempfile.NamedTemporaryFile() as data:
        data.write(os.urandom(SIZE // 2) + bytes(SIZE // 2))
        data.flush()
        os.truncate(data.name, 1 << 30)
        for firmware in os.environ.get("APPLIANCE_FIRMWARE", "bios,uefi,secure").split(","):
            boot(points, firmware, data.name)


if __name__ == "__main__":
    tap.run(test)

# SPDX-License-Identifier: Apache-2.0
"""The built appliance as a QEMU guest (TCG), driven over its serial console."""

import codecs
import glob
import hashlib
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time

import picture
import server as daemon

BOOT_LIMIT = 600
TELL = 120  # seconds
STARTS = "GNU GRUB|Booting|Press ESC"
TARGET = "iqn.2026-11.org.granary:box"


def patience():
    """All limits of waiting, times this: for a machine that does much else meanwhile, as its load says
    unless APPLIANCE_PATIENCE does."""
    given = os.environ.get("APPLIANCE_PATIENCE")
    busy = os.getloadavg()[0] / (os.cpu_count() or 1)
    return float(given) if given else max(1.0, min(8.0, busy))


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


def overlay(path, below, form="qcow2"):
    """A disk of 12 GiB on @below, which is only read."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", below, "-F", form, path, "12G"],
                   check=True)
    return path


def disk_options(path, bus, log, boots):
    """The system disk, which is started from when it @boots, whatever other disks there are; with
    @log, each write and flush that the guest makes is put down there (power.py reads it)."""
    if not log and bus != "virtio":
        return ["-drive", f"file={path},if={bus},cache=unsafe"]
    if not log:
        return ["-drive", f"file={path},if=none,id=system,cache=unsafe", "-device",
                "virtio-blk-pci,drive=system" + (",bootindex=1" if boots else "")]
    with open(log, "wb"):
        pass
    file = {"driver": "file", "cache": {"no-flush": True}}
    node = {"driver": "blklogwrites", "node-name": "logged",
            "file": {"driver": "qcow2", "file": {**file, "filename": path}},
            "log": {**file, "filename": log}}
    return ["-blockdev", json.dumps(node),
            # Merged requests with two pieces more, of the log, are too many for one pwritev(2).
            "-device", "virtio-blk-pci,drive=logged,discard=off,write-zeroes=off,request-merging=off"]


class Box:
    """One appliance, its serial console, its ports. Its disk: a fresh one on the built image; an empty
    one, and the installer's @medium; or @disk, which another Box had. @bundles: further disks. @nic:
    QEMU's name of the network adapter, with its properties."""

    # What a start costs under TCG: 117 s of processor time with two processors ("max"), 55 s with one
    # of this kind. Two wait for each other's locks while the host runs neither, and mark the TSC as
    # not to be used; newer kinds have glibc and OpenSSL take AVX, which is emulated slowly.
    PROCESSOR = "Nehalem,+rdrand"

    def __init__(self, folder, firmware, bundles=(), options=(), medium=None, disk=None,
                 bus="virtio", nic="virtio-net-pci", log=None, processors=1):
        self.disk = disk or os.path.join(folder, "disk.qcow2")
        if medium:
            subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", self.disk, "12G"], check=True)
        elif not disk:
            overlay(self.disk, image())
        if medium:
            options = ["-device", "virtio-scsi-pci", "-device", "scsi-cd,drive=medium", "-drive",
                       f"if=none,id=medium,file={medium},format=raw,media=cdrom,readonly=on",
                       *options]
        self.port = daemon.free_port()
        self.web_port = daemon.free_port()
        self.seen = self.history = ""
        self.decoder = codecs.getincrementaldecoder("utf-8")("replace")
        path = os.path.join(folder, "serial")
        if os.path.exists(path):
            os.unlink(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        self.control = os.path.join(folder, "control")
        self.process = subprocess.Popen(
            ["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", self.PROCESSOR, "-smp", str(processors),
             "-m", "1024", "-display", "none", "-monitor", "none",
             "-qmp", f"unix:{self.control},server=on,wait=off",
             *firmware_options(firmware, folder),
             "-chardev", f"socket,id=serial,path={path}", "-serial", "chardev:serial",
             *[word for path in bundles
               for word in ("-drive", f"file={path},if=virtio,format=raw,readonly=on")],
             "-nic", "none", "-netdev", f"user,id=outside,hostfwd=tcp:127.0.0.1:{self.port}-:3260,"
             f"hostfwd=tcp:127.0.0.1:{self.web_port}-:443", "-device", f"{nic},netdev=outside",
             *disk_options(self.disk, bus, log, medium is None), *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.listener.settimeout(60)
        self.serial = self.listener.accept()[0]
        self.serial.settimeout(1)

    def wait(self, text, limit):
        """Reads the console until @text; what stood before it. None when the time is over."""
        begun = told = time.monotonic()
        while True:
            found = re.search(text, self.seen)
            if found:
                before, self.seen = self.seen[:found.end()], self.seen[found.end():]
                return before
            if time.monotonic() - begun > limit * patience() or self.process.poll() is not None:
                return None
            try:
                more = self.decoder.decode(self.serial.recv(65536))
            except socket.timeout:
                if time.monotonic() - told > TELL:
                    told = time.monotonic()
                    self.tell(text, told - begun)
                continue
            self.seen += more
            self.history = (self.history + more)[-200000:]

    def tell(self, text, waited):
        """What a long wait is for, and whether the guest is stuck or the host slow: a start takes the
        processor time of PROCESSOR's comment, however long the host takes to give it."""
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as file:
            ticks = sum(map(int, file.read().rpartition(")")[2].split()[11:13]))
        last = "".join(c if c.isprintable() else " " for c in self.history[-100:])
        print(f"# {waited:.0f} s for {text!r}: QEMU had {ticks / os.sysconf('SC_CLK_TCK'):.0f} s of processor "
              f"time, load {os.getloadavg()[0]:.1f}, last shown: {last}", flush=True)

    def type(self, text):
        self.serial.sendall(text.encode())

    def shell(self):
        """From the console's screen into its shell."""
        self.type("s")
        entered = self.wait(r"granary help", 30) is not None
        time.sleep(1)
        return entered

    def restart(self):
        """From the console's screen. None when it is READY again, or what it did not come to."""
        self.type("r")
        if self.wait("Type y", 30) is None:
            return "the question"
        self.type("y")
        self.history = ""
        # The screen says READY once more before the system goes down.
        for what, text, limit in (("the boot loader", STARTS, 300),
                                  ("an address", r"10\.0\.2\.\d+", BOOT_LIMIT),
                                  ("READY", "READY", BOOT_LIMIT)):
            if self.wait(text, limit) is None:
                return (f"{what}; the boot loader was seen {self.loaders()} times, QEMU "
                        f"{'lives' if self.process.poll() is None else 'has ended'}")
        return None

    def loaders(self):
        """How often GRUB has been there since the restart."""
        return len(re.findall("Booting `|GNU GRUB", self.history))

    def restarted(self, points, what):
        """A point for restart(), with what was seen."""
        missing = self.restart()
        return points.point(missing is None, what, f"not seen: {missing}\n{self.history[-4000:]}")

    def answer(self, *dialogue):
        """(what is asked for, what is typed then) one after the other; false when it is not."""
        for asked, typed in dialogue:
            if self.wait(asked, 60) is None:
                return False
            self.type(typed)
        return True

    def run(self, command, limit=120):
        """A command in the console's shell; (exit status, output)."""
        self.type(f"{command}; echo \"@@\"$?@@\n")
        shown = self.wait(r"@@\d+@@", limit)
        if shown is None:
            return None, self.seen
        return int(re.search(r"@@(\d+)@@", shown).group(1)), shown

    def unfailed(self, points, what, but=()):
        """A point: no unit failed, @but those; what failed units and their journal say otherwise."""
        status, shown = self.run("systemctl --failed --no-legend --plain --no-pager")
        failed = sorted(set(re.findall(r"(\S+\.\w+) +loaded +failed", shown)) - set(but))
        for unit in failed:
            shown += self.run(f"systemctl status --no-pager --lines=0 {unit}; journalctl --no-pager "
                              f"-o short-monotonic -n 40 -u {unit}")[1]
        return points.point(status == 0 and not failed, what, shown)

    def call(self, method, path, body=None):
        """The API over HTTPS from outside: (status, body), and the certificate's fingerprint."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection("127.0.0.1", self.web_port, timeout=120,
                                                 context=context)
        try:
            connection.connect()
            print_of = hashlib.sha256(connection.sock.getpeercert(True)).hexdigest().upper()
            connection.request(method, "/api/v1" + path, None if body is None else
                               json.dumps(body), {"Content-Type": "application/json"})
            reply = connection.getresponse()
            return reply.status, json.loads(reply.read() or b"null"), print_of
        finally:
            connection.close()

    def machine(self, *commands):
        """(QMP command, its arguments), one after the other."""
        with socket.socket(socket.AF_UNIX) as line:
            line.settimeout(60)
            line.connect(self.control)
            with line.makefile("rw", encoding="utf-8") as talk:
                for command, arguments in (("qmp_capabilities", {}), *commands):
                    talk.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
                    talk.flush()
                    while "return" not in (reply := json.loads(talk.readline())):
                        if "error" in reply:
                            raise OSError(f"{command}: {reply['error']}")

    def press(self, key):
        """A key of the machine's own keyboard, which the console on its screen reads."""
        self.machine(("send-key", {"keys": [{"type": "qcode", "data": key}]}))

    def draws(self, text, limit=60):
        """Whether the machine's own screen has the Chinese @text before the time is over."""
        path = self.control + ".ppm"
        begun = time.monotonic()
        while time.monotonic() - begun < limit * patience():
            self.machine(("screendump", {"filename": path}))
            if picture.shows(path, text):
                return True
            time.sleep(1)
        return False

    def picture(self, name):
        """What the machine's screen shows, as NAME.png in the folder APPLIANCE_PICTURES."""
        folder = os.environ.get("APPLIANCE_PICTURES")
        if folder:
            path = os.path.join(os.path.abspath(folder), name + ".png")
            self.machine(("screendump", {"filename": path, "format": "png"}))

    def url(self, lun=0):
        return f"iscsi://127.0.0.1:{self.port}/{TARGET}/{lun}"

    def end(self):
        self.process.kill()
        self.process.wait()
        self.process.stderr.close()
        self.serial.close()
        self.listener.close()

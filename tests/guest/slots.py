# SPDX-License-Identifier: Apache-2.0
"""The disk and the run-time surroundings of an appliance, for programs that change them: its boot
partition and slots on loop devices, release and key, folders, a system bus, granary-hostd. All of it in
a mount namespace of the process's own (inside()); and releases on an https server."""

import functools
import http.server
import os
import random
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import threading
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "appliance"))
sys.dont_write_bytecode = True

import bus      # pylint: disable=wrong-import-position
import formats  # pylint: disable=wrong-import-position
import tap      # pylint: disable=wrong-import-position

PIECE = 1 << 20
SEQUENCE = 1000
SCHEMAS = {"config": 7, "reservations": 3, "replication": 6, "access": 4}
BUILD = os.path.abspath(os.environ.get("BUILD", "build"))
# The boot partition is what the kernel can mount; granary-update is built for either.
with open("/proc/filesystems", encoding="ascii") as known:
    VFAT = "\tvfat\n" in known.read()
MAKE_ESP = ("mkfs.vfat", "-n") if VFAT else ("mkfs.ext4", "-q", "-L")
GRANARY_UPDATE = os.path.join(BUILD, "granary-update" if VFAT else "tests/integration/update_ext4")
NEEDED = (MAKE_ESP[0], "fsck.vfat", "openssl", "losetup", "unshare")


def needed():
    """What it takes; else the test is skipped."""
    if os.getuid() != 0:
        raise tap.Skip("needs root")
    missing = [tool for tool in NEEDED if not shutil.which(tool, path="/usr/sbin:/usr/bin:/sbin:/bin")]
    if missing:
        raise tap.Skip("needs " + ", ".join(missing))


def inside(script, *words):
    """The command that is @script with a mount namespace of its own."""
    return ["unshare", "-m", "--propagation", "private", sys.executable, os.path.abspath(script), *words]


def quiet(*words):
    subprocess.run(words, check=True, stdin=subprocess.DEVNULL, capture_output=True)


class Machine:
    """What granary-update and granary-hostd find of an appliance: kernel command line, release and key,
    boot partition, both slots, the run-time folders, the bus. In this process's own namespace."""

    def __init__(self, folder, devices):
        self.folder = folder
        self.esp, self.other = devices
        self.key = formats.update_key(folder, None)
        self.children = []
        self.gate = threading.Event()  # granary-update begins when it is set
        self.gate.set()
        self.waits = False             # .. somebody for that
        self.dev = os.path.join(folder, "dev")
        for place in ("/run", "/var/lib", "/usr/share", "/etc/ssl/certs"):
            quiet("mount", "-t", "tmpfs", "tmpfs", place)
        self.devices()
        os.makedirs("/usr/share/granary")
        os.makedirs("/var/lib/granary/host")
        os.makedirs("/run/systemd/network")
        formats.write_release("/usr/share/granary", "1.0.0", SEQUENCE, self.key, SCHEMAS)
        line = os.path.join(folder, "cmdline")
        with open(line, "w", encoding="ascii") as file:
            file.write("quiet root=PARTLABEL=root-a ro\n")
        quiet("mount", "--bind", line, "/proc/cmdline")
        quiet(*MAKE_ESP, "GRANARY", self.esp)
        self.in_esp(self.fill)
        self.bus = bus.Bus("/run/dbus/system_bus_socket", self.unit)
        self.start_hostd()

    def start_hostd(self):
        with open(os.path.join(self.folder, "hostd.log"), "ab") as log:
            self.hostd = subprocess.Popen([os.path.join(BUILD, "granary-hostd")],
                                          stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        limit = time.monotonic() + 60
        while not os.path.exists("/run/granary/host.sock"):
            if self.hostd.poll() is not None or time.monotonic() > limit:
                raise RuntimeError("granary-hostd: " + self.log())
            time.sleep(0.02)

    def kill_hostd(self):
        self.hostd.kill()
        self.hostd.wait()
        os.unlink("/run/granary/host.sock")

    def log(self):
        with open(os.path.join(self.folder, "hostd.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def devices(self):
        """/dev anew, with these two by their labels."""
        numbers = [(path, os.stat(path)) for path in ("/dev/null", "/dev/zero", "/dev/urandom",
                                                      "/dev/random", self.esp, self.other)]
        quiet("mount", "-t", "tmpfs", "tmpfs", "/dev")
        for path, info in numbers:
            kind = stat.S_IFBLK if stat.S_ISBLK(info.st_mode) else stat.S_IFCHR
            os.mknod(path, kind | 0o666, info.st_rdev)
            os.chmod(path, 0o666)
        os.makedirs("/dev/shm")
        for link, path in (("by-label/GRANARY", self.esp), ("by-partlabel/root-b", self.other)):
            os.makedirs(os.path.dirname(f"/dev/disk/{link}"))
            os.symlink(path, f"/dev/disk/{link}")

    def in_esp(self, does):
        mount = os.path.join(self.folder, "esp")
        os.makedirs(mount, exist_ok=True)
        quiet("mount", "-t", "vfat" if VFAT else "ext4", self.esp, mount)
        try:
            return does(mount)
        finally:
            quiet("umount", mount)

    def fill(self, mount):
        os.makedirs(f"{mount}/granary/a")
        for name in ("vmlinuz", "initrd"):
            with open(f"{mount}/granary/a/{name}", "wb") as file:
                file.write(b"a's")
        text = b"# GRUB Environment Block\nslot=a\ngood=1\ntries=0\nfailed=\n"
        with open(f"{mount}/granary/grubenv", "wb") as file:
            file.write(text + b"#" * (1024 - len(text)))

    def env(self):
        """What the boot loader goes by."""
        def read(mount):
            with open(f"{mount}/granary/grubenv", encoding="ascii") as file:
                return dict(line.split("=", 1) for line in file.read().splitlines() if "=" in line)
        return self.in_esp(read)

    def slot_b(self, length):
        """The boot partition's files of the other slot, and the first bytes of its root."""
        def read(mount):
            found = []
            for name in ("vmlinuz", "initrd"):
                with open(f"{mount}/granary/b/{name}", "rb") as file:
                    found.append(file.read())
            return found
        files = self.in_esp(read)
        with open(self.other, "rb") as root:
            return [*files, root.read(length)]

    def boots(self, slot):
        """What the boot loader could start of a slot."""
        return self.in_esp(lambda mount: sorted(os.listdir(f"{mount}/granary/{slot}")))

    def unit(self, name):
        """systemd starts a unit."""
        if name != "granary-update.service":
            raise RuntimeError(f"there is no unit {name}")
        self.waits = True
        self.gate.wait(60)
        self.waits = False
        log = open(os.path.join(self.folder, "update.log"), "ab")  # pylint: disable=consider-using-with
        self.children.append(subprocess.Popen([GRANARY_UPDATE, "asked"],
                                              stdin=subprocess.DEVNULL, stdout=log, stderr=log))
        log.close()

    def update_log(self):
        with open(os.path.join(self.folder, "update.log"), encoding="utf-8", errors="replace") as file:
            return file.read()

    def close(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.wait()
        self.hostd.send_signal(signal.SIGTERM)
        self.hostd.wait(60)
        self.bus.close()


def make_bundles(machine):
    """{name: bytes}, and what is in a good one."""
    folder, numbers = machine.folder, random.Random(14)
    parts = []
    for name, size in (("vmlinuz", 70001), ("initrd", 300000), ("root", 3 * PIECE + 4096)):
        parts.append(os.path.join(folder, name))
        with open(parts[-1], "wb") as file:
            file.write(numbers.randbytes(size))
    os.makedirs(os.path.join(folder, "stranger"))
    stranger = formats.update_key(os.path.join(folder, "stranger"), None)
    made = {}
    for name, key, version, sequence, schemas in (
            ("good", machine.key, "2.0.0", SEQUENCE + 10, {**SCHEMAS, "config": 9}),
            ("older", machine.key, "0.9.0", SEQUENCE - 10, None),
            ("one-way", machine.key, "3.0.0", SEQUENCE + 20, {**SCHEMAS, "replication": 7}),
            ("forged", stranger, "9.0.0", SEQUENCE + 20, SCHEMAS)):
        path = os.path.join(folder, "bundle")
        formats.write_bundle(path, key, version, sequence, parts, schemas)
        with open(path, "rb") as file:
            made[name] = file.read()
    made["short"] = made["good"][:len(made["good"]) // 2]
    damaged = bytearray(made["good"])
    damaged[-1000] ^= 4
    made["damaged"] = bytes(damaged)
    made["none"] = b"<html>no bundle</html>" * 100
    contents = []
    for path in parts:
        with open(path, "rb") as file:
            contents.append(file.read())
    return made, contents


class Releases:
    """A server of releases by https, with a certificate that the machine believes."""

    def __init__(self, folder, bundles):
        self.folder = os.path.join(folder, "releases")
        os.makedirs(self.folder)
        for name, data in bundles.items():
            with open(os.path.join(self.folder, name), "wb") as file:
                file.write(data)
        key, cert = os.path.join(folder, "tls.key"), os.path.join(folder, "tls.pem")
        quiet("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
              "-nodes", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
              "-days", "2", "-keyout", key, "-out", cert)
        shutil.copy(cert, "/etc/ssl/certs/ca-certificates.crt")
        os.chmod("/etc/ssl/certs/ca-certificates.crt", 0o644)
        os.chmod("/etc/ssl/certs", 0o755)

        held = self.held = threading.Event()

        class Handler(http.server.SimpleHTTPRequestHandler):
            def log_message(self, *_):  # pylint: disable=arguments-differ
                pass

            def do_GET(self):
                if self.path == "/plain":
                    self.send_response(302)
                    self.send_header("Location", f"http://127.0.0.1:{plain.server_port}/good")
                    self.end_headers()
                elif self.path == "/slow":  # begins, and then there comes no more
                    data = bundles["good"]
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[:len(data) - PIECE // 2])
                    self.wfile.flush()
                    held.wait(50)
                elif self.path == "/cut":  # the line is cut in the middle of it
                    data = bundles["good"]
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data[:len(data) // 2])
                else:
                    super().do_GET()

        class Server(http.server.ThreadingHTTPServer):
            def handle_error(self, request, client_address):
                pass  # who has seen enough hangs up

        self.server = Server(
            ("127.0.0.1", 0), functools.partial(Handler, directory=self.folder))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        # Where somebody would lead it who may not.
        self.plain = plain = http.server.ThreadingHTTPServer(
            ("127.0.0.1", 0), functools.partial(Handler, directory=self.folder))
        threading.Thread(target=plain.serve_forever, daemon=True).start()
        self.url = f"https://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.held.set()
        for server in (self.server, self.plain):
            server.shutdown()
            server.server_close()

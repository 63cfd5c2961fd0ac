# SPDX-License-Identifier: Apache-2.0
"""A QEMU guest (TCG, so that it runs anywhere) with one disk on an iSCSI LUN or in a file of an NFS
share, driven over QMP."""

import contextlib
import fcntl
import glob
import gzip
import json
import os
import re
import shutil
import socket
import subprocess
import time

from tap import Skip

MODULES = ("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci",
           "virtio_blk")


def cache_folder():
    top = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    folder = os.path.join(top, "granary-test")
    os.makedirs(folder, exist_ok=True)
    return folder


@contextlib.contextmanager
def made_once(name):
    """Held by the suite that fills a part of the cache; those beside it wait, then find it there."""
    with open(os.path.join(cache_folder(), name + ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def load_kernel(cache):
    depends = subprocess.run(["apt-cache", "depends", "linux-image-cloud-amd64"],
                             capture_output=True, text=True).stdout
    package = re.search(r"Depends: (linux-image-\S+)", depends)
    if not package:
        raise Skip("apt knows no package linux-image-cloud-amd64 (run apt-get update)")
    shutil.rmtree(cache, ignore_errors=True)
    os.makedirs(cache)
    loaded = subprocess.run(["apt-get", "-q", "-o", "Acquire::Retries=3", "download",
                             package.group(1)], cwd=cache, capture_output=True, text=True,
                            timeout=180)
    files = glob.glob(os.path.join(cache, "*.deb"))
    if loaded.returncode != 0 or not files:
        raise Skip(f"{package.group(1)} can not be loaded: {loaded.stderr.strip()}")
    subprocess.run(["dpkg-deb", "-x", files[0], cache], check=True, timeout=180)
    os.unlink(files[0])
    with open(os.path.join(cache, "done"), "w", encoding="utf-8"):
        pass


def debian_kernel():
    """(vmlinuz, modules): Debian's cloud kernel, unpacked once into the cache. It is loaded and
    unpacked, never installed: no boot loader and no initramfs of this machine is touched."""
    cache = os.path.join(cache_folder(), "kernel")
    with made_once("kernel"):
        if not os.path.exists(os.path.join(cache, "done")):
            load_kernel(cache)
    kernel = glob.glob(os.path.join(cache, "boot", "vmlinuz-*"))[0]
    found = {}
    for path in glob.glob(os.path.join(cache, "lib/modules/*/kernel/**/*.ko"), recursive=True):
        found[os.path.basename(path)[:-len(".ko")]] = path
    return kernel, [found[name] for name in MODULES if name in found]


def initramfs(path, init, modules):
    """Writes a newc archive by hand: /init, the modules and nothing else."""
    def entry(name, data, mode, number):
        head = "070701" + "".join(f"{field:08x}" for field in (
            number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0))
        text = head.encode() + name.encode() + b"\0"
        return text + b"\0" * (-len(text) % 4) + data + b"\0" * (-len(data) % 4)

    files = [("init", init)] + [(os.path.basename(module), module) for module in modules]
    with gzip.open(path, "wb", compresslevel=1) as archive:
        for number, (name, source) in enumerate(files, 1):
            with open(source, "rb") as file:
                archive.write(entry(name, file.read(), 0o100755, number))
        archive.write(entry("TRAILER!!!", b"", 0, len(files) + 1))


def protocol(url, name):
    """QEMU's node for an iscsi:// or nfs:// URL."""
    scheme, _, rest = url.partition("://")
    if scheme == "nfs":
        host, _, path = rest.partition("/")
        return {"driver": "nfs", "server": {"type": "inet", "host": host}, "path": "/" + path,
                "cache": {"direct": True}}
    portal, target, lun = rest.split("/")
    return {"driver": "iscsi", "transport": "tcp", "portal": portal, "target": target,
            "lun": int(lun), "cache": {"direct": True},
            "initiator-name": f"iqn.2026-11.org.granary.test:{name}"}


class Qemu:
    """One QEMU process. @incoming: a socket path on which it waits for a guest to arrive."""

    def __init__(self, folder, name, url, kernel, ramdisk, incoming=None):
        self.name = name
        self.console_path = os.path.join(folder, f"{name}.console")
        self.error_path = os.path.join(folder, f"{name}.stderr")
        self.qmp_path = os.path.join(folder, f"{name}.qmp")
        disk = {"driver": "raw", "node-name": "disk", "cache": {"direct": True},
                "file": protocol(url, name)}
        command = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "pc", "-cpu", "qemu64",
                   "-m", "256", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
                   "-blockdev", json.dumps(disk),
                   "-device", "virtio-blk-pci,drive=disk,werror=report,rerror=report",
                   "-chardev", f"file,id=console,path={self.console_path}",
                   "-serial", "chardev:console",
                   "-qmp", f"unix:{self.qmp_path},server=on,wait=off",
                   "-kernel", kernel, "-initrd", ramdisk,
                   "-append", "console=ttyS0 quiet panic=-1 tsc=unstable mitigations=off"]
        if incoming:
            command += ["-incoming", f"unix:{incoming}"]
        with open(self.error_path, "wb") as errors:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=errors,
                                            stderr=errors)
        self.channel = None

    def console(self):
        try:
            with open(self.console_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    def errors(self):
        with open(self.error_path, encoding="utf-8", errors="replace") as file:
            return file.read()

    def acknowledged(self):
        """Numbers of the records whose line is complete on this process's console."""
        return [int(number) for number in re.findall(r"^ack (\d+)\r?\n", self.console(), re.M)]

    def command(self, name, **arguments):
        """One QMP command; its result, or RuntimeError."""
        if self.channel is None:
            self.connect()
        message = {"execute": name}
        if arguments:
            message["arguments"] = arguments
        self.channel.write(json.dumps(message).encode() + b"\n")
        self.channel.flush()
        return self.answer()

    def connect(self):
        limit = time.monotonic() + 90
        link = socket.socket(socket.AF_UNIX)
        link.settimeout(90)
        while True:
            try:
                link.connect(self.qmp_path)
                break
            except OSError:
                if time.monotonic() > limit or self.process.poll() is not None:
                    raise RuntimeError(f"{self.name}: no QMP: {self.errors()}") from None
                time.sleep(0.1)
        self.channel = link.makefile("rwb")
        self.channel.readline()  # greeting
        self.command("qmp_capabilities")

    def answer(self):
        while True:
            line = self.channel.readline()
            if not line:
                raise RuntimeError(f"{self.name}: QEMU ended: {self.errors()}")
            message = json.loads(line)
            if "error" in message:
                raise RuntimeError(f"{self.name}: {message['error']}")
            if "return" in message:
                return message["return"]

    def wait_for(self, what, limit):
        """Waits until what() is true while the process lives. False when it does not come."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            if what():
                return True
            if self.process.poll() is not None:
                return bool(what())
            time.sleep(0.1)
        return False

    def migrate(self, path, limit):
        """Moves the guest to whoever listens at @path; the last migration status."""
        self.command("migrate", uri=f"unix:{path}")
        status = ""

        def ended():
            nonlocal status
            status = self.command("query-migrate").get("status", "")
            return status in ("completed", "failed", "cancelled")
        self.wait_for(ended, limit)
        return status

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()

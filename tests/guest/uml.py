# SPDX-License-Identifier: Apache-2.0
"""Real Linux kernels as clients: Debian's user-mode-linux, each guest with a throw-away copy of a
root image that holds open-iscsi and the file system tools.

A test that uses this calls enter() first: it runs the whole test again inside network, process
and mount namespaces of its own, where the daemon listens on SERVER and the guests' network cards
end. Whatever happens to the test, the kernel ends everything inside."""

import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from qemu import cache_folder, made_once
from tap import Skip

SERVER = "10.77.0.1"
PACKAGES = ("open-iscsi", "e2fsprogs", "xfsprogs", "iproute2", "kmod", "mount", "util-linux",
            "sg3-utils", "procps", "dmsetup", "nfs-common", "rpcbind", "nfs4-acl-tools", "attr")
INSIDE = "GRANARY_TEST_NAMESPACE"
MEMORY_MIB = 384

# First process of a guest. Console lines outside @@begin and @@end are the kernel's.
INIT = r"""#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C
mount -t proc proc /proc; mount -t sysfs sysfs /sys
mount -t tmpfs tmpfs /run; mount -t tmpfs tmpfs /tmp
mkdir -p /run/lock /run/share /dev/shm /mnt
mount -t hostfs hostfs /run/share || { echo o > /proc/sysrq-trigger; sleep 60; }
export SHARE=/run/share SERVER="$granary_server" GUEST="$granary_guest"
echo "InitiatorName=iqn.2026-11.org.granary.test:guest$GUEST" > /etc/iscsi/initiatorname.iscsi
ip link set lo up; ip addr add "$granary_address/24" dev vec0; ip link set vec0 up
modprobe -a iscsi_tcp sd_mod sg crc32c_generic
cd /tmp; echo "@@begin"
setsid bash "/run/share/script.$GUEST" </dev/null 2>&1; result=$?
echo "@@end $result"; echo "$result" > "/run/share/result.$GUEST"; sync
echo o > /proc/sysrq-trigger; sleep 60
"""

# What scripts may call: test points, a question to the host, a meeting with the other guests.
PRELUDE = r"""
yes() { echo "ok - $*"; }
no() { echo "not ok - $*"; }
check() { local text=$1; shift; if "$@" >/tmp/out 2>&1; then yes "$text"; else no "$text"; tail -n 12 /tmp/out | sed 's/^/# /'; return 1; fi; }
wait_file() { local i; for i in $(seq 1800); do [ -e "$1" ] && return; sleep 0.1; done; echo "# no $1 after three minutes"; return 1; }
ask() { rm -f "$SHARE/answer"; echo "$1" > "$SHARE/.q"; mv "$SHARE/.q" "$SHARE/question"; wait_file "$SHARE/answer" && cat "$SHARE/answer"; }
meet() { : > "$SHARE/meet.$1.$GUEST"; wait_file "$SHARE/meet.$1.$((3 - GUEST))"; }
disk() { local i; for i in $(seq 600); do for d in /sys/class/iscsi_session/session*/device/target*/*/block/sd*; do [ -b "/dev/${d##*/}" ] && [ "$(cat "$d/size")" -gt 0 ] && { echo "/dev/${d##*/}"; return; }; done; sleep 0.1; done; return 1; }
"""


def needs():
    """Skips where a guest can not run."""
    if os.getuid() != 0:
        raise Skip("needs root (network namespace, tap device, root image)")
    for program in ("linux.uml", "mmdebstrap", "mke2fs", "ip", "unshare", "setpriv"):
        if not shutil.which(program):
            raise Skip(f"no {program}")
    if not os.path.exists("/dev/net/tun"):
        raise Skip("no /dev/net/tun")


def root_image():
    """Path of the root image; built once (about a minute) and kept in the cache."""
    kernel = subprocess.run(["linux.uml", "--version"], capture_output=True, text=True).stdout
    key = hashlib.sha256((INIT + kernel + " ".join(PACKAGES)).encode()).hexdigest()[:12]
    image = os.path.join(cache_folder(), f"guest-{key}.ext4")
    with made_once("guest"):
        if not os.path.exists(image):
            build_image(image)
    return image


def build_image(image):
    with tempfile.TemporaryDirectory(dir=cache_folder()) as work:
        root = os.path.join(work, "root")
        built = subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=essential", "--include=" + ",".join(PACKAGES),
             "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
             "--dpkgopt=path-exclude=/usr/share/locale/*", "bookworm", root],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=400)
        if built.returncode != 0:
            raise Skip("mmdebstrap: " + (built.stderr.strip().splitlines() or ["failed"])[-1])
        modules = os.path.join(root, "lib/modules")
        os.makedirs(modules, exist_ok=True)
        shutil.copytree("/usr/lib/uml/modules", modules, symlinks=True, dirs_exist_ok=True)
        for folder in glob.glob(modules + "/*/kernel/drivers/media"):
            shutil.rmtree(folder)
        with open(os.path.join(root, "granary-init"), "w", encoding="utf-8") as file:
            file.write(INIT)
        os.chmod(os.path.join(root, "granary-init"), 0o755)
        made = os.path.join(work, "image")
        subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, made,
                        "1200M"], check=True, capture_output=True, timeout=200)
        for old in glob.glob(os.path.join(cache_folder(), "guest-*.ext4")):
            os.unlink(old)
        os.rename(made, image)


def enter():
    """Runs this test again inside namespaces of its own, and ends with its verdict; returns only
    inside. The root image is made before, while there is a network."""
    if os.environ.get(INSIDE):
        # A private folder for what the guests leave; seen by this test only, gone with it.
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/run"], check=True)
        ip("link", "set", "lo", "up")
        ip("addr", "add", f"{SERVER}/32", "dev", "lo")
        return
    root_image()
    inside = subprocess.run(
        ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--pid", "--mount", "--fork",
         "--kill-child=KILL", "--mount-proc", sys.executable, *sys.argv],
        env={**os.environ, INSIDE: "1"}, stdin=subprocess.DEVNULL)
    sys.stdout.flush()
    os._exit(inside.returncode if inside.returncode >= 0 else 1)


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Guests:
    """Guests 1..n, each running one script; all boot at once. prepare(share) may put files where
    the guests see them, before."""

    def __init__(self, folder, scripts, prepare=None):
        self.folder = folder
        self.share = os.path.join(folder, "share")
        os.makedirs(self.share)
        if prepare:
            prepare(self.share)
        self.processes = []
        image = root_image()
        for number, script in enumerate(scripts, 1):
            with open(os.path.join(self.share, f"script.{number}"), "w", encoding="utf-8") as file:
                file.write(PRELUDE + script)
            self.processes.append(self.boot(number, image))

    def console_path(self, number):
        return os.path.join(self.folder, f"console.{number}")

    def boot(self, number, image):
        tap, address = f"gr{number}", f"10.77.0.{10 + number}"
        ip("tuntap", "add", tap, "mode", "tap")
        ip("link", "set", tap, "up")
        ip("route", "add", f"{address}/32", "dev", tap, "src", SERVER)
        command = ["linux.uml", f"mem={MEMORY_MIB}M", f"umid=granary{number}",
                   f"uml_dir={self.folder}/uml", f"hostfs={self.share}",
                   f"ubd0={self.folder}/cow{number},{image}", "root=/dev/ubda", "rootfstype=ext4",
                   "rw", "init=/granary-init", "quiet", "con=null", "con0=null,fd:1",
                   f"vec0:transport=tap,ifname={tap},depth=128,gro=1",
                   f"granary_server={SERVER}", f"granary_guest={number}",
                   f"granary_address={address}"]
        with open(self.console_path(number), "wb") as console:
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console,
                                    stderr=subprocess.STDOUT)

    def wait(self, limit, answer=None):
        """Until every guest has ended or @limit; answer(question) serves the scripts' ask()."""
        end = time.monotonic() + limit
        while any(process.poll() is None for process in self.processes):
            if time.monotonic() > end:
                return False
            self.serve(answer)
            time.sleep(0.05)
        return True

    def serve(self, answer):
        question = os.path.join(self.share, "question")
        if answer is None or not os.path.exists(question):
            return
        with open(question, encoding="utf-8") as file:
            words = file.read().split()
        os.unlink(question)
        reply = os.path.join(self.share, "answer")
        with open(reply + ".new", "w", encoding="utf-8") as file:
            file.write(f"{answer(words)}\n")
        os.rename(reply + ".new", reply)

    def output(self, number):
        """What the script printed; the whole console when it never began."""
        with open(self.console_path(number), encoding="utf-8", errors="replace") as file:
            console = file.read().replace("\r", "")
        script = re.search(r"^@@begin\n(.*?)(^@@end|\Z)", console, re.M | re.S)
        return script.group(1) if script else console

    def result(self, number):
        """Exit status of the script, None when it was never written."""
        try:
            with open(os.path.join(self.share, f"result.{number}"), encoding="utf-8") as file:
                return int(file.read())
        except (FileNotFoundError, ValueError):
            return None

    def stop(self):
        for process in self.processes:
            if process.poll() is None:
                process.kill()
            process.wait()
        for number in range(1, len(self.processes) + 1):
            subprocess.run(["ip", "link", "del", f"gr{number}"], capture_output=True)


def tell(tap, guests, number, label):
    """The script's test points as ours; a script that broke off is a failed point."""
    output, points = guests.output(number), 0
    for line in output.splitlines():
        match = re.match(r"(not )?ok - (.*)", line)
        if match:
            points += 1
            tap.point(not match.group(1), f"{label}: {match.group(2)}")
        else:
            tap.note(f"{label}: {line}")
    tap.point(guests.result(number) == 0 and points > 0, f"{label}: its script ends well",
              f"result {guests.result(number)}")

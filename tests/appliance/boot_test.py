#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The built image under QEMU (TCG): by BIOS, by UEFI and by UEFI with Secure Boot it comes to READY
on its console; a pool and a LUN made there are used by a real initiator from outside; the data is
there after a reboot. APPLIANCE_FIRMWARE=bios,uefi,secure picks what to boot with (default: all);
pictures of the screen go to the folder APPLIANCE_PICTURES."""

import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(TOP, "tests/guest"))

from box import BOOT_LIMIT, Box, TARGET  # pylint: disable=wrong-import-position
import tap                               # pylint: disable=wrong-import-position

SIZE = 64 << 20


def outside(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=300)


def embedded(points, box):
    """A machine with one disk has a pool on it by itself, once."""
    status, shown = box.run("for i in $(seq 120); do granary pool show local >/dev/null 2>&1 && break;"
                            " sleep 1; done; granary pool show local -o json; "
                            "ls /var/lib/granary/host/pool-made", 180)
    points.point(status == 0 and '"online"' in shown, "the pool local is on the system disk", shown)
    status, shown = box.run("granary pool delete local --yes; systemctl restart granary-hostd; "
                            "sleep 25; echo left=$(granary pool list -o json | grep -c local)")
    points.point(status == 0 and "left=0" in shown,
                 "and does not come back when it was deleted", shown)


def make_lun(points, box):
    for command in ("granary pool create tank /var/lib/granary/tank.pool:4G",
                    "granary volume create tank/disk 1G",
                    f"granary target create {TARGET}",
                    f"granary lun map {TARGET} tank/disk",
                    f"granary target allow {TARGET} --network 0.0.0.0/0"):
        status, shown = box.run(command)
        points.point(status == 0, command.split(TARGET)[0].strip(), shown)
    status, shown = box.run("findmnt -no FSTYPE,SIZE /var/lib/granary && systemctl is-active granaryd")
    points.point(status == 0 and "ext4" in shown and "active" in shown,
                 "the state partition took the disk", shown)
    box.unfailed(points, "no unit failed")
    points.note(plain(box.run("systemd-analyze time; systemd-analyze blame --no-pager | head -8")[1]))
    status, shown = box.run("mv /dev/disk/by-label/GRANARY /dev/away; granary-update good; "
                            "echo good=$?; mv /dev/away /dev/disk/by-label/GRANARY")
    points.point(status == 0 and "good=0" in shown and "not known" in shown,
                 "a boot partition that can not be read is said, and no reason to restart", shown)
    status, shown = box.run("find / -xdev -perm /6000 -type f | wc -l | sed s/^/setuid=/")
    points.point(status == 0 and "setuid=0" in shown, "no setuid program", shown)
    status, shown = box.run("grep -q \"pkg:deb/debian/systemd@$(dpkg-query -W -f '${Version}' "
                            "systemd)?\" /usr/share/granary/spdx.json")
    points.point(status == 0, "what is in it is listed in it (SPDX)", shown)
    status, shown = box.run("ss -Htuln | grep -vE '127.0.0.|\\[::1\\]|:(443|3260|7420|2049|111|68|546) '")
    points.point(status == 1, "nothing listens but HTTPS, iSCSI, NFS, replication and the DHCP client", shown)
    status, shown = box.run("nft list chain inet granary input")
    points.point(status == 0 and "policy drop" in shown and "443" in shown and "3260" in shown,
                 "a packet filter drops the rest", shown)
    status, shown = box.run("granary status -o json; uname -r")
    points.point(status == 0 and '"uring"' in shown, "io_uring on Debian's kernel", shown)
    for unit in ("granaryd", "granary-web"):
        _, shown = box.run(f"systemd-analyze security {unit} --no-pager | tail -1")
        points.note("systemd-analyze: " + " ".join(re.findall(r"Overall.*", shown)[-1:]))
        level = re.search(r"level for granary-web.service: ([0-9.]+)", shown)
        points.point(unit == "granaryd" or (level and float(level[1]) <= 2.0),
                     f"{unit} is sandboxed", shown)


def plain(shown):
    """A screen without its colours and positions, in one line."""
    return " ".join(re.sub(r"\x1b(\[[0-9;]*[A-Za-z]|[78])", " ", shown).split())


def set_up(points, box, shown):
    """With what stands on the console, and nothing else, somebody makes himself administrator."""
    words = plain(shown)
    points.point("https://10.0.2." in words and "█ ▄▄▄▄▄ █" in words, "address and QR code", words)
    digest = re.search(r"SHA-256 ((?:[0-9A-F]{2}[: ]){32})", words)
    code = re.search(r"Set-up code ([0-9A-Za-z-]+)", words)
    if not points.point(digest and code, "fingerprint and set-up code", words):
        return
    status, body, seen = box.call("GET", "/setup")
    points.point(status == 200 and body.get("needed") is True, "the API answers over HTTPS", body)
    points.point(re.sub("[: ]", "", digest[1]) == seen,
                 "the certificate is the one on the console", f"{digest[0]} {seen}")
    status, body, _ = box.call("POST", "/setup", {"name": "eve", "password": "correct horse 7",
                                                  "code": code[1]})
    points.point(status in (200, 201), "the code makes the first account", body)
    for _ in range(3):  # what was on its way, and what is drawn now
        box.type("\f")
        shown = plain(box.wait("READY", 60) or "")
    points.point(shown and "Set-up code" not in shown, "and is gone from the screen", shown)


def screen_text(box, wanted):
    """What tty1 shows, once @wanted is there; from the shell of the serial line."""
    shown = box.run(f"for i in $(seq 120); do grep -q '{wanted}' /dev/vcs1 && break; sleep 1; done; "
                    "echo '@''screen@'; LC_ALL=C tr -c ' -~' '?' < /dev/vcs1 | "
                    "fold -w $(stty -F /dev/tty1 size | cut -d' ' -f2); echo", 300)[1]
    return shown.partition("@screen@")[2]


def own_screen(points, box, name):
    """The machine's own screen and keyboard: what stands there, and two of the dialogues."""
    shown = screen_text(box, "power off")
    points.point("READY" in shown and "https://10.0.2." in shown and "power off" in shown,
                 "its own screen shows READY, the address and the keys", shown)
    box.picture(f"{name}-ready")
    for key, wanted, what in (("n", "Network as it is set", "network"),
                              ("h", "Name of this machine", "name"),
                              ("r", "Restart the machine", "restart")):
        box.press(key)
        shown = screen_text(box, wanted)
        points.point(wanted in shown, f"a key there asks for the {what}", shown)
        box.picture(f"{name}-{what}")
        box.press("ret")
        shown = screen_text(box, "Enter goes on\\|power off")
        if "Enter goes on" in shown:
            box.press("ret")
            shown = screen_text(box, "power off")
        points.point("power off" in shown, "and comes back", shown)


def own_chinese(points, box, name):
    """The same in Chinese, which the kernel's screen has no glyphs of but those it is given."""
    points.point(box.draws("中文"), "its own screen offers Chinese")
    box.press("l")
    points.point(box.draws("就绪") and box.draws("存储池"), "and speaks it")
    box.picture(f"{name}-chinese-ready")
    for key, wanted, what in (("n", "当前网络设置", "network"), ("t", "时间服务器", "time"),
                              ("r", "重启本机？虚拟机会等待其恢复。", "restart")):
        box.press(key)
        points.point(box.draws(wanted), f"asks for the {what} in it")
        box.picture(f"{name}-chinese-{what}")
        for _ in range(4):  # the questions of a dialogue
            box.press("ret")
        points.point(box.draws("就绪"), "and comes back")
    box.press("l")
    points.point("power off" in screen_text(box, "power off"), "and English again there")


def chinese(points, box):
    """The serial line has a terminal behind it that may know Chinese."""
    box.type("l")
    shown = box.wait("关机", 60) or ""
    points.point("READY 就绪" in shown and "地址" in shown, "the serial line speaks Chinese", shown)
    folder = os.environ.get("APPLIANCE_PICTURES")
    if folder:
        with open(os.path.join(folder, "chinese.txt"), "w", encoding="utf-8") as file:
            file.write(box.history)
    box.type("l")
    points.point(box.wait("power off", 60) is not None, "and English again")


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
        box = Box(folder, firmware, processors=2 if firmware == "bios" else 1)
        try:
            shown = box.wait("READY", BOOT_LIMIT)
            ready = time.monotonic() - started
            if not points.point(shown is not None, f"{firmware}: READY on the console",
                                box.seen[-3000:]):
                return
            points.note(f"{firmware}: READY after {ready:.0f} s (TCG)")
            points.point("10.0.2." in shown or box.wait(r"10\.0\.2\.\d+", 60) is not None,
                         "the console shows the address")
            box.type("\f")
            screen = shown + (box.wait("power off", 30) or "")
            if "SHA-256" not in screen:
                box.type("\f")
                screen = box.wait("power off", 30) or ""
            set_up(points, box, screen)
            chinese(points, box)
            points.point(box.shell(), "the console gives a shell")
            own_screen(points, box, firmware)
            own_chinese(points, box, firmware)
            embedded(points, box)
            make_lun(points, box)
            use_lun(points, box, data, True)
            box.type("exit\n")
            points.point(box.wait("READY", 30) is not None, "back from the shell")
            box.restarted(points, "READY after a restart from the console")
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

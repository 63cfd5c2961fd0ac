#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=180 asan
"""What a machine is told at its first start, by the real program: a NoCloud volume of vfat and of ISO
9660 and the CD of an OVF package, mounted, parsed by a child that is nobody, taken once; what is
wrong with one is said and changes nothing; the daemon takes the set-up code and forgets it."""

import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

import api    # pylint: disable=wrong-import-position
import tap    # pylint: disable=wrong-import-position
import volume # pylint: disable=wrong-import-position

SEED = os.path.join(api.BUILD, "granary-seed")
CODE = "AB12-CD34-EF56"
USER = f"""#cloud-config
hostname: barn
timezone: Europe/Zurich
ntp: {{servers: [192.0.2.123]}}
packages: [nginx]
granary:
  setup_code: {CODE}
  pools:
    - name: tank
      devices: [/dev/vdb]
"""
META = "instance-id: i-17\nlocal-hostname: other\n"
OVF = """<?xml version="1.0" encoding="UTF-8"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1"
    xmlns:oe="http://schemas.dmtf.org/ovf/environment/1" oe:id="">
  <PropertySection>
    <Property oe:key="hostname" oe:value="fromovf"/>
    <Property oe:key="setup-code" oe:value="AAAA-BBBB-0001"/>
  </PropertySection>
</Environment>
"""


def run(*words):
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


def folder_of(work, name, files):
    return volume.folder_of(os.path.join(work, name), files)


def checks(points, work):
    good = run(SEED, "--check", folder_of(work, "good", {"user-data": USER, "meta-data": META}))
    points.point(good.returncode == 0 and CODE not in good.stdout, "--check", good.stderr)
    said = json.loads(good.stdout or "{}")
    points.point(said.get("settings") == {"name": "barn", "timezone": "Europe/Zurich",
                                          "time_servers": ["192.0.2.123"]} and
                 said["instance"] == "i-17" and said["passed_over"] == ["packages"] and
                 said["pools"] == [{"name": "tank", "devices": ["/dev/vdb"]}],
                 "says what would be taken", good.stdout)
    for number, (files, words) in enumerate((
            ({"meta-data": "a: [\n"}, "meta-data: line"),
            ({"user-data": "#cloud-config\nhostname: -x-\n"}, "name: -x- is none"),
            ({"user-data": "#cloud-config\n" + "x" * 70000}, "64 KiB"),
            ({"ovf-env.xml": "<x>"}, "ovf-env.xml: line 1"),
            ({"network-config": "version: 2\nethernets: {e: {addresses: [1.2.3.400/24]}}\n"},
             "1.2.3.400/24"),
            ({"user-data": '#cloud-config\ngranary: {"\\e[2Jx": 1}\n'}, "no member ?[2Jx"))):
        done = run(SEED, "--check", folder_of(work, f"bad{number}", files))
        points.point(done.returncode == 1 and words in done.stderr and not done.stdout,
                     f"refused: {words}", done.stderr)


def vfat(work, name, label, files):
    return volume.vfat(os.path.join(work, name), label, files)


def iso(work, name, label, files):
    return volume.iso(os.path.join(work, name), label, files)


def state_of(work, name):
    state = os.path.join(work, name)
    os.makedirs(os.path.join(state, "host"))
    return state


def read(state, name):
    try:
        with open(os.path.join(state, "host", name), encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None


GUEST = r"""#!/bin/bash
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run
mkdir /run/share; mount -t hostfs -o @WORK@ hostfs /run/share; cd /run/share
@PYTHON@ - <<'END'
import ctypes, glob, os
for name in ("drivers/cdrom/cdrom", "fs/isofs/isofs", "fs/fat/fat", "fs/fat/vfat", "fs/nls/nls_cp437",
             "fs/nls/nls_ascii", "fs/nls/nls_utf8", "fs/nls/nls_iso8859-1"):
    for path in glob.glob(f"/usr/lib/uml/modules/*/kernel/{name}.ko"):
        ctypes.CDLL(None).syscall(313, os.open(path, os.O_RDONLY), b"", 0)  # finit_module
END
@COMMANDS@
echo o > /proc/sysrq-trigger; sleep 60
"""


def in_guest(work, takes):
    """Each (state, image) in turn, in a kernel of its own whose root is this machine's, read-only:
    this machine's kernel need not know the file systems. {state: (exit status, what it said)}."""
    disks, commands = [], []
    for number, (state, image) in enumerate(takes):
        disks.append(f"ubd{number}r={image}")
        commands.append(f"{SEED} --device /dev/ubd{'abcdefgh'[number]} --state {state} --run run "
                        f"> said.{number} 2>&1; echo $? > exit.{number}")
    script = os.path.join(work, "init")
    with open(script, "w", encoding="utf-8") as file:
        file.write(GUEST.replace("@WORK@", work).replace("@PYTHON@", sys.executable)
                   .replace("@COMMANDS@", "\n".join(commands)))
    os.chmod(script, 0o755)
    done = subprocess.run(["linux.uml", "mem=256M", *disks, "root=/dev/root", "rootfstype=hostfs",
                           "rootflags=/", "ro", f"init={script}", "con=null", "con0=null,fd:1"],
                          stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False,
                          cwd=work, env={**os.environ, "TMPDIR": work})
    results = []
    for number in range(len(takes)):
        try:
            with open(os.path.join(work, f"exit.{number}"), encoding="ascii") as file:
                status = int(file.read())
            with open(os.path.join(work, f"said.{number}"), encoding="utf-8") as file:
                results.append((status, file.read()))
        except (FileNotFoundError, ValueError):
            results.append((None, done.stdout.decode(errors="replace")[-2000:]))
    return results


def held(work, state):
    return sorted(os.listdir(os.path.join(work, state, "host")))


def volumes(points, work):
    """States are named as the guest sees them, below its share."""
    for state in ("taken", "ovf", "none", "bad"):
        state_of(work, state)
    fat, late, env, data, bad = in_guest(work, (
        ("taken", vfat(work, "fat", "CIDATA", {"user-data": USER, "meta-data": META})),
        ("taken", iso(work, "late.iso", "cidata", {"user-data": "#cloud-config\n"
                                                                "hostname: late\n"})),
        ("ovf", iso(work, "env.iso", "OVF ENV", {"ovf-env.xml": OVF})),
        ("none", iso(work, "data.iso", "DATA", {"user-data": USER})),
        ("bad", iso(work, "bad.iso", "CIDATA", {"user-data": USER, "network-config":
                                                "version: 2\nethernets: {nic9: {}, nic8: {}}\n"}))))
    state = os.path.join(work, "taken")
    settings = json.loads(read(state, "settings.json") or "{}")
    points.point(fat[0] == 0 and settings.get("name") == "barn" and
                 settings.get("timezone") == "Europe/Zurich", "a vfat volume is taken", fat)
    points.point(read(state, "setup-code") == CODE and
                 json.loads(read(state, "seed-pools.json") or "[{}]")[0].get("name") == "tank" and
                 CODE not in (read(state, "seed.json") or CODE),
                 "code and pools wait for their turn", held(work, "taken"))
    modes = {name: os.stat(os.path.join(state, "host", name)).st_mode & 0o777
             for name in held(work, "taken")}
    points.point(set(modes.values()) == {0o600}, "and are root's alone", modes)
    points.point(late[0] == 0 and not late[1], "a second one is not looked at", late)
    other = os.path.join(work, "ovf")
    points.point(env[0] == 0 and json.loads(read(other, "settings.json") or "{}").get("name") ==
                 "fromovf" and read(other, "setup-code") == "AAAA-BBBB-0001",
                 "the CD of an OVF package", env)
    points.point(data[0] == 0 and not held(work, "none"), "another label is none", data)
    with open(os.path.join(work, "run", "seed.json"), encoding="utf-8") as file:
        said = json.load(file)["error"]
    points.point(bad[0] == 1 and "there is no port nic9 here" in said and not held(work, "bad"),
                 "a port that is not there: said, and nothing is taken", bad)
    return state


def links(points, work):
    folder = folder_of(work, "link", {})
    os.symlink("/etc/passwd", os.path.join(folder, "user-data"))
    done = run(SEED, "--check", folder)
    points.point(done.returncode == 1 and "root:" not in done.stdout + done.stderr,
                 "a link leads nowhere", done.stderr)


def the_code(points, state):
    """The daemon's first account is made with the code that was given, and with no other."""
    daemon = api.Daemon(state, pool=False)
    try:
        points.point(f"SETUP code={CODE}" in daemon.log(), "the daemon takes the code")
        body = {"code": CODE, "name": "root", "password": "long-enough-1"}
        reply = daemon.call("POST", "/api/v1/setup", body)
        points.point(reply["status"] == 201, "it makes the first account", reply)
        points.point(read(state, "setup-code") is None, "and is forgotten then")
    finally:
        points.point(daemon.stop() == 0, "the daemon stops", daemon.log()[-1000:])
    with open(os.path.join(state, "host", "setup-code"), "w", encoding="ascii") as file:
        file.write(CODE)  # as if the power had gone before it was removed
    api.Daemon(state, pool=False).stop()
    points.point(read(state, "setup-code") is None, "at the next start too")


def odd_codes(points, work):
    for number, text in enumerate(("", "AB12-CD34-EF5", "AB12-CD34-EF567", "ab12-cd34-ef56",
                                   "AB12-CD34-EF5\0", "\n" * 14)):
        state = state_of(work, f"odd{number}")
        with open(os.path.join(state, "host", "setup-code"), "w", encoding="ascii") as file:
            file.write(text)
        daemon = api.Daemon(state, pool=False)
        try:
            code = daemon.good("GET", "/api/v1/setup")["code"]
            points.point(len(code) == 14 and code not in (text, CODE),
                         f"no code: {text!r}", code)
        finally:
            daemon.stop()


def test(points):
    with tempfile.TemporaryDirectory() as work:
        checks(points, work)
        odd_codes(points, work)
        links(points, work)
        tools = [tool for tool in ("linux.uml", "mkfs.vfat", "mcopy", "xorriso")
                 if not shutil.which(tool)]
        if os.geteuid() == 0 and not tools and "asan" not in api.BUILD:
            state = volumes(points, work)
        else: # a kernel in a process has no room for a sanitizer's memory
            points.note(f"volumes are not mounted here: not root, sanitized, or no {tools}")
            state = state_of(work, "given")
        with open(os.path.join(state, "host", "setup-code"), "w", encoding="ascii") as file:
            file.write(CODE)
        the_code(points, state)


if __name__ == "__main__":
    tap.run(test)

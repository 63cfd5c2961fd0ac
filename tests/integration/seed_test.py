#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=180 asan
"""What a machine is told at its first start, by the real program: a NoCloud volume of vfat and of ISO
9660 and the CD of an OVF package, mounted, parsed by a child that is nobody, taken once; what is
wrong with one is said and changes nothing; the daemon takes the set-up code and forgets it."""

import glob
import json
import os
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

import api    # pylint: disable=wrong-import-position
import tap    # pylint: disable=wrong-import-position

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
    path = os.path.join(work, name)
    os.makedirs(path)
    for file, text in files.items():
        with open(os.path.join(path, file), "w", encoding="utf-8") as out:
            out.write(text)
    return path


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
             "1.2.3.400/24"))):
        done = run(SEED, "--check", folder_of(work, f"bad{number}", files))
        points.point(done.returncode == 1 and words in done.stderr and not done.stdout,
                     f"refused: {words}", done.stderr)


class Loop:
    """A block device on @path."""

    def __init__(self, path):
        done = run("losetup", "--find", "--show", "--read-only", path)
        if done.returncode:
            raise tap.Skip(f"no loop device: {done.stderr.strip()}")
        self.device = done.stdout.strip()

    def __enter__(self):
        return self.device

    def __exit__(self, *_):
        run("losetup", "--detach", self.device)


def vfat(work, name, label, files):
    path = os.path.join(work, name)
    with open(path, "wb") as file:
        file.truncate(8 << 20)
    made = run("mkfs.vfat", "-n", label, path)
    folder = folder_of(work, name + ".d", files)
    if made.returncode == 0:
        made = run("mcopy", "-i", path, *sorted(glob.glob(folder + "/*")), "::")
    if made.returncode:
        raise RuntimeError(made.stderr)
    return path


def iso(work, name, label, files):
    path = os.path.join(work, name)
    made = run("xorriso", "-as", "mkisofs", "-quiet", "-V", label, "-J", "-R", "-o", path,
               folder_of(work, name + ".d", files))
    if made.returncode:
        raise RuntimeError(made.stderr)
    return path


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


def take(work, state, image):
    with Loop(image) as device:
        return run(SEED, "--device", device, "--state", state, "--run", os.path.join(work, "run"))


def volumes(points, work):
    state = state_of(work, "state1")
    done = take(work, state, vfat(work, "fat", "CIDATA", {"user-data": USER, "meta-data": META}))
    if "can not be mounted" in done.stderr:
        points.note(f"volumes can not be mounted here: {done.stderr.strip()}")
        return None
    settings = json.loads(read(state, "settings.json") or "{}")
    points.point(done.returncode == 0 and settings.get("name") == "barn" and
                 settings.get("timezone") == "Europe/Zurich", "a vfat volume is taken",
                 done.stderr)
    points.point(read(state, "setup-code") == CODE and
                 json.loads(read(state, "seed-pools.json"))[0]["name"] == "tank" and
                 CODE not in read(state, "seed.json"), "code and pools wait for their turn")
    modes = {name: os.stat(os.path.join(state, "host", name)).st_mode & 0o777
             for name in ("setup-code", "settings.json", "seed.json")}
    points.point(set(modes.values()) == {0o600}, "and are root's alone", modes)
    done = take(work, state, iso(work, "late.iso", "cidata", {"user-data": "#cloud-config\n"
                                                              "hostname: late\n"}))
    points.point(done.returncode == 0 and json.loads(read(state, "settings.json"))["name"] ==
                 "barn", "a second one is not looked at", done.stderr)
    other = state_of(work, "state2")
    done = take(work, other, iso(work, "env.iso", "OVF ENV", {"ovf-env.xml": OVF}))
    points.point(done.returncode == 0 and json.loads(read(other, "settings.json"))["name"] ==
                 "fromovf" and read(other, "setup-code") == "AAAA-BBBB-0001",
                 "the CD of an OVF package", done.stderr)
    none = state_of(work, "state3")
    done = take(work, none, iso(work, "data.iso", "DATA", {"user-data": USER}))
    points.point(done.returncode == 0 and not os.listdir(os.path.join(none, "host")),
                 "another label is none", done.stderr)
    bad = state_of(work, "state4")
    done = take(work, bad, iso(work, "bad.iso", "CIDATA", {"user-data": USER,
                                                           "network-config": "version: 2\n"
                                                           "ethernets: {nic9: {}, nic8: {}}\n"}))
    with open(os.path.join(work, "run", "seed.json"), encoding="utf-8") as file:
        said = json.load(file)["error"]
    points.point(done.returncode == 1 and "there is no port nic9 here" in said and
                 not os.listdir(os.path.join(bad, "host")),
                 "a port that is not there: said, and nothing is taken", done.stderr)
    link = folder_of(work, "link.d0", {})
    os.symlink("/etc/shadow", os.path.join(link, "user-data"))
    done = run(SEED, "--check", link)
    points.point(done.returncode == 1 and "root:" not in done.stdout + done.stderr,
                 "a link leads nowhere", done.stderr)
    return state


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
        state = state_of(work, "given")
        if os.geteuid() == 0 and all(shutil.which(tool) for tool in
                                     ("losetup", "mkfs.vfat", "mcopy", "xorriso")):
            try:
                state = volumes(points, work) or state
            except tap.Skip as reason:
                points.note(str(reason))
        else:
            points.note("volumes are not made: not root, or no mkfs.vfat, mcopy, xorriso")
        with open(os.path.join(state, "host", "setup-code"), "w", encoding="ascii") as file:
            file.write(CODE)
        the_code(points, state)


if __name__ == "__main__":
    tap.run(test)

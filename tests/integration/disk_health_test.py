#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=120 asan waits
"""How the disks are: granary-smart with a program in smartctl's place that says what smartctl 7.3 said
of real disks, the daemon's API and command line, an alert that comes and goes; reports that are none."""

import json
import os
import stat
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
# As smartctl --json shows them, cut to what stands between the lines of other tools.
HEAD = {"json_format_version": [1, 0], "smartctl": {"version": [7, 3], "exit_status": 0}}
NVME = {**HEAD, "device": {"name": "/dev/nvme0", "type": "nvme", "protocol": "NVMe"},
        "model_name": "SAMSUNG MZVL2512HCJQ-00B00", "serial_number": "S675NX0T123456",
        "smart_status": {"passed": True, "nvme": {"value": 0}},
        "nvme_smart_health_information_log": {
            "critical_warning": 0, "temperature": 41, "available_spare": 100,
            "available_spare_threshold": 10, "percentage_used": 4, "media_errors": 0},
        "temperature": {"current": 41}, "power_on_time": {"hours": 9123}}
ATA = {**HEAD, "device": {"name": "/dev/sda", "type": "sat", "protocol": "ATA"},
       "model_name": "ST4000NM0035-1V4107", "serial_number": "ZC1234AB",
       "smart_status": {"passed": False},
       "ata_smart_attributes": {"revision": 10, "table": [
           {"id": 5, "name": "Reallocated_Sector_Ct", "value": 1, "worst": 1, "thresh": 10,
            "when_failed": "now", "raw": {"value": 4088, "string": "4088"}},
           {"id": 197, "name": "Current_Pending_Sector", "value": 98, "worst": 98, "thresh": 0,
            "when_failed": "", "raw": {"value": 16, "string": "16"}}]},
       "temperature": {"current": 35}, "power_on_time": {"hours": 51234}}
VIRTUAL = {**HEAD, "smartctl": {"version": [7, 3], "exit_status": 1, "messages": [
    {"string": "/dev/vda: Unable to detect device type", "severity": "error"}]}}


def program(folder, answers):
    """Says what it is told to of the device that is its last argument."""
    path = os.path.join(folder, "smartctl")
    with open(os.path.join(folder, "answers.json"), "w", encoding="utf-8") as file:
        json.dump(answers, file)
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#!{sys.executable}\n"
                   "import json, sys\n"
                   "assert '--json=c' in sys.argv and '--nocheck=standby' in sys.argv\n"
                   f"with open({os.path.join(folder, 'answers.json')!r}) as file:\n"
                   "    answer = json.load(file)[sys.argv[-1].removeprefix('/dev/')]\n"
                   "print(answer if isinstance(answer, str) else json.dumps(answer))\n")
    os.chmod(path, stat.S_IRWXU)
    return path


def ask(folder, state, answers):
    words = [os.path.join(api.BUILD, "granary-smart"), "--state", state, "--once", "--smartctl",
             program(folder, answers)]
    for name in answers:
        words += ["--disk", name]
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60, check=False)


def wait(what, seconds=60):
    """What it gives when that is something; None after the time."""
    limit = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > limit:
            return None
        time.sleep(0.1)
    return found


def alert(daemon, rule):
    found = [entry for entry in daemon.good("GET", f"{V1}/alerts") if entry["rule"] == rule and
             entry["state"] == "firing"]
    return found[0] if found else None


def reports(points, daemon, folder):
    fresh = daemon.good("GET", f"{V1}/disks/health")
    points.point(fresh == {"reported": 0, "stale": True, "disks": []}, "nothing is known at first",
                 fresh)
    listed = daemon.granary("disk", "health")
    points.point(listed.returncode == 1 and "granary-smart" in listed.stderr, "and that is said",
                 listed.stderr)
    done = ask(folder, daemon.state, {"nvme0n1": NVME, "sda": ATA, "vda": VIRTUAL,
                                      "sdb": "no JSON at all"})
    points.point(done.returncode == 0, "disks are asked", done.stderr)
    said = {disk["name"]: disk for disk in daemon.good("GET", f"{V1}/disks/health")["disks"]}
    points.point({name: disk["status"] for name, disk in said.items()} ==
                 {"nvme0n1": "good", "sda": "failing", "vda": "unknown", "sdb": "unknown"},
                 "and the daemon knows how they are", said)
    points.point(said["nvme0n1"]["wear_percent"] == 4 and said["nvme0n1"]["temperature_c"] == 41 and
                 said["sda"]["sectors"] == 4088 and said["sda"]["power_on_hours"] == 51234 and
                 "16 sectors wait" in said["sda"]["detail"] and
                 "Unable to detect" in said["vda"]["detail"], "with numbers and reasons", said)
    listed = daemon.granary("disk", "health")
    points.point(listed.returncode == 0 and "ST4000NM0035" in listed.stdout and
                 "failing" in listed.stdout, "granary disk health", listed.stdout)
    listed = daemon.granary("disk", "list")
    points.point(listed.returncode == 0 and "HEALTH" in listed.stdout, "granary disk list",
                 listed.stdout)


def merged(points, daemon, folder):
    """A disk that this machine has shows it in the list."""
    disks = [disk for disk in daemon.good("GET", f"{V1}/disks") if disk["kind"] == "disk"]
    if not disks:
        points.note("this machine shows no disk")
        return
    name = disks[0]["name"]
    ask(folder, daemon.state, {name: ATA})
    shown = [disk for disk in daemon.good("GET", f"{V1}/disks") if disk["name"] == name][0]
    points.point(shown["health"] == "failing" and "about to fail" in shown["health_detail"],
                 "the list of disks says it", shown)


def alerts(points, daemon, folder):
    ask(folder, daemon.state, {"sda": ATA, "nvme0n1": NVME})
    found = wait(lambda: alert(daemon, "disk-failing"))
    points.point(found and found["object"] == "sda (ZC1234AB)" and
                 found["severity"] == "critical" and "about to fail" in found["text"],
                 "an alert says which disk fails", found)
    ask(folder, daemon.state, {"sda": ""})
    time.sleep(2.5)  # two rounds
    points.point(alert(daemon, "disk-failing"), "it stays when the disk does not answer any more")
    worn = {**NVME, "nvme_smart_health_information_log": {"critical_warning": 0,
                                                          "percentage_used": 96}}
    ask(folder, daemon.state, {"nvme0n1": worn})
    found = wait(lambda: alert(daemon, "disk-warning"))
    points.point(found and "96 %" in found["text"], "and which is worn", found)
    points.point(wait(lambda: not alert(daemon, "disk-failing")),
                 "it clears when the disk is gone")


def hostile(points, daemon):
    for what, disks in (("no list", "x"), ("no name", [{"status": "good"}]),
                        ("no such status", [{"name": "a", "status": "fine"}]),
                        ("a long name", [{"name": "a" * 64, "status": "good"}]),
                        ("a long detail", [{"name": "a", "status": "good", "detail": "d" * 301}]),
                        ("too many", [{"name": f"d{n}", "status": "good"} for n in range(1025)]),
                        ("texts for objects", ["sda"])):
        reply = daemon.call("POST", f"{V1}/disks/health", {"disks": disks})
        points.point(reply["status"] == 400, f"refused: {what}", str(reply)[:300])


def again(points, folder):
    """What was known of the disks is not known to the next daemon; what it had told stays."""
    daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
    try:
        time.sleep(2.5)
        points.point(alert(daemon, "disk-failing"), "an alert stays over a restart")
    finally:
        points.point(daemon.stop() == 0, "it stops", daemon.log()[-1000:])


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            reports(points, daemon, folder)
            alerts(points, daemon, folder)
            merged(points, daemon, folder)
            hostile(points, daemon)
            ask(folder, daemon.state, {"sda": ATA})
            wait(lambda: alert(daemon, "disk-failing"))
        finally:
            status = daemon.stop()
        points.point(status == 0, "the daemon stops cleanly", daemon.log()[-2000:])
        again(points, folder)
        done = ask(folder, daemon.state, {"sda": ATA})
        points.point(done.returncode == 1 and "could not be told" in done.stderr,
                     "without a daemon it says so", done.stderr)


if __name__ == "__main__":
    tap.run(test)

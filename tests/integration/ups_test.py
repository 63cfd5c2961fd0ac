#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=180 asan waits
"""A UPS by NUT's protocol: a server of the test's own tells of power that fails and comes back, hangs,
talks nonsense; alerts, the command line, and settings over a restart. With Debian's nut-server its
dummy driver is asked too. What powers off is tests/unit/webadmin/ups_test.c and the host helper."""

import json
import os
import socketserver
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"


class Nut(socketserver.ThreadingTCPServer):
    """upsd as far as it is asked. .vars: what it tells; .mode: "good", "silent", "junk"."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Session)
        self.vars = {"ups.status": "OL CHRG", "battery.charge": "100", "battery.runtime": "1830.5",
                     "ups.load": "17"}
        self.mode = "good"
        self.asked = []
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def port(self):
        return self.server_address[1]


class Session(socketserver.StreamRequestHandler):
    def handle(self):
        while line := self.rfile.readline(1024).decode("ascii", "replace").strip():
            self.server.asked.append(line)
            if line == "LOGOUT" or self.server.mode == "silent":
                return
            if self.server.mode == "junk":
                self.wfile.write(b"HTTP/1.0 400 \0\xff" + b"x" * 2000 + b"\n")
                return
            words = line.split()
            if words[:2] != ["GET", "VAR"] or len(words) != 4:
                reply = "ERR UNKNOWN-COMMAND"
            elif words[2] != "su700":
                reply = "ERR UNKNOWN-UPS"
            elif words[3] not in self.server.vars:
                reply = "ERR VAR-NOT-SUPPORTED"
            else:
                reply = f'VAR {words[2]} {words[3]} "{self.server.vars[words[3]]}"'
            self.wfile.write(reply.encode() + b"\n")


def wait(what, seconds=90):
    """What it gives when that is something; None after the time."""
    limit = time.monotonic() + seconds
    while not (found := what()):
        if time.monotonic() > limit:
            return None
        time.sleep(0.1)
    return found


def in_state(daemon, state):
    def look():
        shown = daemon.good("GET", f"{V1}/ups")
        return shown if shown["state"] == state else None
    return look


def firing(daemon, rule):
    return lambda: [entry for entry in daemon.good("GET", f"{V1}/alerts")
                    if entry["rule"] == rule and entry["state"] == "firing"]


def settings(points, daemon, nut):
    none = daemon.call("GET", f"{V1}/ups")
    points.point(none["status"] == 404 and none["body"]["code"] == "no_ups", "at first there is none",
                 none)
    for body in ({"host": "h h", "ups": "u"}, {"host": "h", "ups": "u\nLOGOUT"},
                 {"host": "h", "ups": "u", "port": 0}, {"host": "h", "ups": "u", "port": 65536},
                 {"host": "h", "ups": "u", "shutdown_at": "soon"},
                 {"host": "h", "ups": "u", "shutdown_at": "0"}, {"host": "", "ups": "u"},
                 {"host": "x" * 300, "ups": "u"}):
        reply = daemon.call("PUT", f"{V1}/ups", body)
        points.point(reply["status"] == 400, f"refused: {str(body)[:60]}", reply)
    done = daemon.granary("ups", "set", f"127.0.0.1:{nut.port}", "su700", "--shutdown-at", "86400")
    points.point(done.returncode == 0, "granary ups set", done.stderr)


def life(points, daemon, nut):
    shown = wait(in_state(daemon, "online"))
    points.point(shown and shown["charge_percent"] == 100 and shown["runtime_seconds"] == 1830 and
                 shown["load_percent"] == 17 and shown["shutdown_at"] == "86400",
                 "it tells how it is", shown)
    points.point(not [line for line in nut.asked if not line.startswith(("GET VAR su700 ", "LOGOUT"))],
                 "it was asked, and no more", nut.asked[:10])
    nut.vars.update({"ups.status": "OB DISCHRG", "battery.charge": "81"})
    shown = wait(in_state(daemon, "on-battery"))
    points.point(shown and shown["charge_percent"] == 81, "power fails", shown)
    found = wait(firing(daemon, "ups-on-battery"))
    points.point(found and "su700@127.0.0.1" in found[0]["text"] and "81 %" in found[0]["text"],
                 "an alert says so", found)
    del nut.vars["ups.load"]
    nut.vars.update({"ups.status": "OL CHRG RB", "battery.charge": "80"})
    shown = wait(in_state(daemon, "online"))
    points.point(shown and "load_percent" not in shown, "it comes back", shown)
    points.point(wait(lambda: not firing(daemon, "ups-on-battery")()), "and the alert clears")
    listed = daemon.granary("ups", "show")
    points.point(listed.returncode == 0 and "su700" in listed.stdout and "online" in listed.stdout,
                 "granary ups show", listed.stdout)


def trouble(points, daemon, nut):
    for mode, words in (("silent", "hung up"), ("junk", "does not speak")):
        nut.mode = mode
        shown = wait(lambda words=words: (found := in_state(daemon, "unreachable")()) and
                     words in found["reason"] and found)
        points.point(shown, f"a server that is {mode}", shown)
    nut.mode = "good"
    points.point(wait(in_state(daemon, "online")), "and well again")
    done = daemon.granary("ups", "set", f"127.0.0.1:{nut.port}", "other")
    shown = wait(in_state(daemon, "unreachable"))
    points.point(done.returncode == 0 and shown and "UNKNOWN-UPS" in shown["reason"] and
                 shown["shutdown_at"] == "low", "a UPS that it does not know", shown)


def again(points, folder, nut):
    """After a restart it is watched as before; cleared, it is not."""
    daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
    try:
        shown = daemon.good("GET", f"{V1}/ups")
        points.point(shown["ups"] == "other" and shown["port"] == nut.port, "it is kept", shown)
        done = daemon.granary("ups", "clear")
        points.point(done.returncode == 0 and daemon.call("GET", f"{V1}/ups")["status"] == 404,
                     "granary ups clear", done.stderr)
    finally:
        points.point(daemon.stop() == 0, "the daemon stops", daemon.log()[-1000:])


def dummy(points, daemon, folder):
    """Debian's upsd with its dummy driver, where they are installed."""
    driver, server = "/lib/nut/dummy-ups", "/lib/nut/upsd"
    if not (os.path.exists(driver) and os.path.exists(server)):
        points.note("Debian's nut-server is not installed: its dummy driver was not asked")
        return
    run, port = os.path.join(folder, "nut"), api.free_port()
    os.makedirs(run)
    for name, text in (("ups.conf", f"[su700]\ndriver = dummy-ups\nport = {run}/su.dev\n"),
                       ("upsd.conf", f"LISTEN 127.0.0.1 {port}\n"), ("upsd.users", ""),
                       ("su.dev", "ups.status: OL\nbattery.charge: 93\nbattery.runtime: 600\n"
                                  "ups.load: 5\n")):
        with open(os.path.join(run, name), "w", encoding="ascii") as file:
            file.write(text)
    environment = {**os.environ, "NUT_CONFPATH": run, "NUT_STATEPATH": run,
                   "NUT_ALTPIDPATH": run}
    processes = []
    log = open(os.path.join(run, "log"), "wb")
    try:
        for words in ([driver, "-D", "-a", "su700", "-u", "root"], [server, "-D", "-u", "root"]):
            processes.append(subprocess.Popen(words, env=environment, stdin=subprocess.DEVNULL,
                                              stdout=log, stderr=log))
        daemon.granary("ups", "set", f"127.0.0.1:{port}", "su700")
        shown = wait(in_state(daemon, "online"))
        with open(os.path.join(run, "log"), encoding="utf-8", errors="replace") as file:
            points.point(shown and shown["charge_percent"] == 93 and shown["load_percent"] == 5,
                         "Debian's NUT with its dummy driver", f"{shown}\n{file.read()[-2000:]}")
    finally:
        log.close()
        for process in processes:
            process.kill()
            process.wait()


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        nut = Nut()
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            settings(points, daemon, nut)
            life(points, daemon, nut)
            trouble(points, daemon, nut)
            dummy(points, daemon, folder)
            daemon.granary("ups", "set", f"127.0.0.1:{nut.port}", "other")
            points.point(json.loads(daemon.granary("ups", "show", "-o", "json").stdout)["ups"] ==
                         "other", "as JSON")
        finally:
            status = daemon.stop()
        points.point(status == 0, "the daemon stops cleanly", daemon.log()[-2000:])
        again(points, folder, nut)
        nut.shutdown()
        nut.server_close()


if __name__ == "__main__":
    tap.run(test)

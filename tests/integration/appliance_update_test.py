#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=300 engines=one asan
"""The appliance is updated through the API and the command line: the real granaryd, granary-web,
granary-hostd and granary-update, in a mount namespace with the disk of an appliance (loop devices) and
a system bus of the test's own. A bundle comes in pieces or from a URL; forged, damaged, cut off and
older ones are refused and change nothing; a good one is in the other slot, read back, until somebody
goes back; one that was cut off in the middle is nothing to go back to."""

import base64
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api    # pylint: disable=wrong-import-position
import loops  # pylint: disable=wrong-import-position
import slots  # pylint: disable=wrong-import-position
import tap    # pylint: disable=wrong-import-position
import web    # pylint: disable=wrong-import-position

from slots import GRANARY_UPDATE, PIECE  # pylint: disable=wrong-import-position

V1 = "/api/v1"
UPDATE = f"{V1}/appliance/update"


def settled(daemon):
    """The state when no update is under way any more."""
    limit = time.monotonic() + 120
    while (state := daemon.good("GET", UPDATE))["under_way"] and time.monotonic() < limit:
        time.sleep(0.1)
    return state


def piece(daemon, data, at):
    return daemon.call("PUT", f"{UPDATE}/bundle?offset={at}",
                       {"data": base64.b64encode(data[at:at + PIECE]).decode()})


def upload(daemon, name, data):
    begun = daemon.good("POST", f"{UPDATE}/bundle", {"name": name, "size": len(data)})
    for at in range(begun["received_bytes"], len(data), PIECE):
        reply = piece(daemon, data, at)
        assert reply["status"] == 200, reply
    return daemon.call("POST", f"{UPDATE}/bundle/done", {"sha256": hashlib.sha256(data).hexdigest()})


def no_appliance(points, daemon):
    """Before there is a helper."""
    replies = [daemon.call("GET", UPDATE), daemon.call("POST", UPDATE, {}),
               daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": "https://127.0.0.1/x"}),
               daemon.call("POST", f"{UPDATE}/rollback"),
               daemon.call("POST", f"{UPDATE}/bundle", {"name": "x", "size": 1}),
               daemon.call("PUT", f"{UPDATE}/bundle?offset=0", {"data": "YQ=="})]
    points.point(all(reply["status"] == 404 and reply["body"]["code"] == "no_appliance"
                     for reply in replies), "a plain daemon says that it is no appliance", replies)
    told = daemon.granary("appliance", "update", "--yes")
    points.point(told.returncode == 1 and "not the appliance" in told.stderr, "so does the command", told)


def settings(points, daemon, machine):
    """The machine's settings are tried out by its helper; nothing of them is made."""
    base = f"{V1}/appliance"
    was, files = daemon.good("GET", base), machine.log()
    links = [{"name": "ens3", "ipv4": "static", "addresses": ["192.0.2.7/24"]}]
    for path, body, changed in (
            ("/name", {"name": "barn"}, {"name": "barn"}),
            ("/time", {"time_servers": ["192.0.2.5"]}, {"time_servers": ["192.0.2.5"]}),
            ("/network", {"links": links, "dns": ["192.0.2.1"]},
             {"dns": ["192.0.2.1"], "trial": True,
              "link ens3": {"kind": "ethernet", "ipv4": "static", "ipv6": "auto",
                            "addresses": ["192.0.2.7/24"], "gateways": []}})):
        if path == "/time" and not os.path.exists("/usr/share/zoneinfo/Etc/UTC"):
            points.note("no time zones on this machine: what time would change is not looked at")
            continue
        would = daemon.call("PUT", f"{base}{path}?dry_run=1", body)
        points.point(would["status"] == 200 and would["body"]["what"] == "machine" and
                     would["body"]["after"] == changed and
                     set(would["body"]["before"]) <= set(changed), f"what {path[1:]} would change", would)
    for method, path, body in (("PUT", "/name", {"name": "a b"}),
                               ("PUT", "/time", {"timezone": "Mars/Olympus"}),
                               ("PUT", "/network", {"links": [{"name": "lo"}]}),
                               ("POST", "/network/confirm", None), ("POST", "/network/revert", None)):
        told = [daemon.call(method, f"{base}{path}{query}", body) for query in ("?dry_run=1", "")]
        points.point(told[1]["status"] in (400, 409) and told[0] == told[1],
                     f"refused in the same words: {path} {body}", told)
    for path in ("/restart", "/poweroff"):
        none = daemon.call("POST", f"{base}{path}?dry_run=1")
        points.point(none["status"] == 422 and none["body"]["code"] == "no_dry_run",
                     f"{path[1:]} has none, and is not done", none)
    said = daemon.granary("appliance", "name", "barn", "--dry-run")
    points.point(said.returncode == 0 and "would change machine:" in said.stdout and "-> barn" in said.stdout,
                 "granary appliance name --dry-run", said)
    points.point(daemon.good("GET", base) == was and machine.log() == files, "and nothing is different")


def by_pieces(points, daemon, machine, bundles):
    good = bundles["good"]
    back = [daemon.call("POST", f"{UPDATE}/rollback{query}") for query in ("", "?dry_run=1")]
    points.point(all(reply["status"] == 422 and reply["body"]["code"] == "no_other_release"
                     for reply in back) and machine.env()["slot"] == "a",
                 "there is nothing to go back to yet", back)
    nothing = daemon.call("POST", UPDATE, {})
    points.point(nothing["status"] == 409 and nothing["body"]["code"] == "nothing_uploaded",
                 "without a bundle there is no update", nothing)
    daemon.good("POST", f"{UPDATE}/bundle", {"name": "good", "size": len(good)})
    first = piece(daemon, good, 0)
    wrong = piece(daemon, good, 3 * PIECE)
    early = daemon.call("POST", UPDATE, {})
    points.point(first["status"] == 200 and first["body"]["received_bytes"] == PIECE and
                 wrong["status"] == 409 and wrong["body"]["code"] == "wrong_offset" and
                 early["body"]["code"] == "not_all_there",
                 "a bundle comes in pieces, each where the one before has ended", [first, wrong, early])
    machine.kill_hostd()
    machine.start_hostd()
    again = daemon.good("POST", f"{UPDATE}/bundle", {"name": "good", "size": len(good)})
    points.point(again["received_bytes"] == PIECE, "it is gone on with after the helper was killed", again)
    done = upload(daemon, "good", good)
    points.point(done["status"] == 201 and done["body"]["checked"] and
                 daemon.good("GET", UPDATE)["bundle"]["complete"], "and is whole", done)


def refused(points, daemon, machine, bundles, releases):
    before = machine.env()
    for name, code in (("forged", "wrong_signature"), ("older", "older_release"),
                       ("one-way", "no_way_back"), ("none", "no_bundle")):
        replies = [daemon.call("POST", UPDATE, {"url": f"{releases.url}/{name}"}),
                   daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/{name}"})]
        upload(daemon, name, bundles[name])
        replies.append(daemon.call("POST", UPDATE, {}))
        points.point(all(reply["status"] == 422 and reply["body"]["code"] == code for reply in replies) and
                     settled(daemon)["update"]["state"] == "failed" and machine.env() == before,
                     f"{name}: refused, from a URL and uploaded: {code}", replies)
    older = daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/older", "allow_older": True})
    points.point(older["status"] == 200 and older["body"]["after"]["release"] == "0.9.0",
                 "an older one may be asked for", older)
    one_way = daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/one-way", "one_way": True})
    points.point(one_way["status"] == 200 and one_way["body"]["after"]["release"] == "3.0.0",
                 "and one without a way back", one_way)
    for name, code in (("short", "bundle_truncated"), ("damaged", "bundle_damaged"),
                       ("cut", "download_failed")):
        daemon.call("POST", UPDATE, {"url": f"{releases.url}/{name}"})
        state = settled(daemon)
        points.point(state["update"]["state"] == "failed" and state["update"]["code"] == code and
                     machine.env()["slot"] == "a" and machine.env()["good"] == "1",
                     f"{name}: {code}, and the running slot stays", state)
    gone = daemon.call("POST", UPDATE, {"url": f"{releases.url}/nowhere"})
    plain = daemon.call("POST", UPDATE, {"url": f"{releases.url}/plain"})
    http_url = daemon.call("POST", UPDATE,
                           {"url": f"http://127.0.0.1:{releases.plain.server_port}/good"})
    file_url = daemon.call("POST", UPDATE, {"url": "/etc/passwd"})
    points.point(gone["body"]["code"] == plain["body"]["code"] == "download_failed" and
                 http_url["body"]["code"] == file_url["body"]["code"] == "bad_url",
                 "a URL that gives nothing, one that leads to http, http, a path", [gone, plain, http_url])


def second(points, daemon, machine, releases):
    """While one is under way."""
    machine.gate.clear()
    first = []
    asks = threading.Thread(target=lambda: first.append(
        daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/good"})))
    asks.start()
    # The helper waits for the bus; what follows waits for the helper, in turn.
    time.sleep(0.3)
    replies = []
    others = [threading.Thread(target=lambda body=body, path=path: replies.append(
        daemon.call("POST", path, body)))
        for path, body in ((UPDATE, {"url": f"{releases.url}/good"}), (f"{UPDATE}/rollback", {}))]
    lock = os.open("/run/granary/update.lock", os.O_RDWR | os.O_CREAT, 0o600)
    machine.gate.set()
    asks.join(120)
    fcntl.flock(lock, fcntl.LOCK_EX)  # as granary-update of the console does
    for other in others:
        other.start()
    for other in others:
        other.join(120)
    told = subprocess.run([GRANARY_UPDATE, "rollback", "--dry-run"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    state = daemon.good("GET", UPDATE)
    os.close(lock)
    points.point(first[0]["status"] == 200 and len(replies) == 2 and
                 all(reply["status"] == 409 and reply["body"]["code"] == "update_under_way"
                     for reply in replies) and state["under_way"] and told.returncode == 1 and
                 "under way" in told.stderr,
                 "a second one while one is under way is refused, whoever has begun it", [first, replies, told])


def dry(points, daemon, machine, releases, bundles):
    """Says which release would go where, and nothing is different."""
    def seen():
        with open(machine.other, "rb") as root, open(machine.esp, "rb") as esp:
            return hashlib.sha256(root.read()).digest(), hashlib.sha256(esp.read()).digest()
    slots.quiet(GRANARY_UPDATE, "status")
    before, env = seen(), machine.env()
    bundle = upload(daemon, "good", bundles["good"])["body"]
    replies = [daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/good"}),
               daemon.call("POST", f"{UPDATE}?dry_run=1", {})]
    points.point(all(reply["status"] == 200 and reply["body"]["before"] == {"slot": "a", "release": "1.0.0"} and
                     reply["body"]["after"] == {"slot": "b", "release": "2.0.0"} for reply in replies),
                 "a dry run says which release would go into which slot", replies)
    state = settled(daemon)
    points.point(machine.env() == env and seen()[0] == before[0] and state["next"] == "a" and
                 state["bundle"]["complete"] and bundle["size_bytes"] == len(bundles["good"]),
                 "and nothing has: slot, boot loader and the bundle are as they were", state)
    told = daemon.granary("appliance", "update", f"{releases.url}/good", "--dry-run")
    points.point(told.returncode == 0 and "2.0.0" in told.stdout and machine.env() == env,
                 "the command says the same", told)


def installed(points, daemon, machine, contents):
    reply = daemon.call("POST", UPDATE, {})
    points.point(reply["status"] == 202 and reply["body"]["update"]["version"] in ("", "2.0.0"),
                 "an update begins", reply)
    state = settled(daemon)
    env = machine.env()
    points.point(state["update"]["state"] == "done" and state["next"] == "b" and state["on_trial"] and
                 state["update"]["done_bytes"] == state["update"]["size_bytes"] ==
                 2 * sum(len(part) for part in contents) and env["slot"] == "b" and env["tries"] == "3",
                 "it is done, and the next start is from the other slot, on trial", [state, env])
    points.point(machine.slot_b(len(contents[2])) == contents and "bundle" not in state,
                 "what was in the bundle is in the slot, and the upload is gone", state)
    back = daemon.call("POST", f"{UPDATE}/rollback?dry_run=1")
    points.point(back["status"] == 200 and machine.env() == env, "going back can be tried out", back)


def by_command(points, daemon, machine, releases, bundles):
    path = os.path.join(machine.folder, "release.update")
    with open(path, "wb") as file:
        file.write(bundles["good"])
    sent = daemon.granary("appliance", "upload", path)
    done = daemon.granary("appliance", "update", "--yes")
    points.point(sent.returncode == 0 and done.returncode == 0 and "release 2.0.0 is in slot b" in done.stdout,
                 "the command uploads and installs", [sent, done])
    forged = daemon.granary("appliance", "update", f"{releases.url}/forged", "--yes")
    points.point(forged.returncode == 1 and "not by this system" in forged.stderr,
                 "and says what is wrong with a bundle", forged)
    daemon.call("DELETE", f"{UPDATE}/bundle")
    other = bytes(len(bundles["good"]))  # another file of that name and size, cut off
    daemon.good("POST", f"{UPDATE}/bundle", {"name": "release.update", "size": len(other)})
    piece(daemon, other, 0)
    begun = daemon.good("POST", f"{UPDATE}/bundle", {"name": "release.update", "size": len(other)})
    sent = daemon.granary("appliance", "upload", path)
    points.point(begun["received_bytes"] == PIECE and
                 begun["received_sha256"] == hashlib.sha256(other[:PIECE]).hexdigest() and
                 sent.returncode == 0 and "of another file" in sent.stderr and
                 daemon.call("POST", f"{UPDATE}?dry_run=1", {})["status"] == 200,
                 "it does not go on with what is of another file", [begun, sent])
    daemon.call("DELETE", f"{UPDATE}/bundle")
    daemon.good("POST", f"{UPDATE}/bundle", {"name": "release.update", "size": len(other)})
    piece(daemon, bundles["good"], 0)
    sent = daemon.granary("appliance", "upload", path)
    points.point(sent.returncode == 0 and "of another file" not in sent.stderr and
                 daemon.call("POST", f"{UPDATE}?dry_run=1", {})["status"] == 200,
                 "and goes on with what is of this one", sent)
    asked = daemon.granary("appliance", "update")
    shown = daemon.granary("appliance", "release")
    points.point(asked.returncode == 2 and "--yes" in asked.stderr and shown.returncode == 0 and
                 "1.0.0" in shown.stdout, "it asks first, and shows what runs", [asked, shown])
    direct = subprocess.run([GRANARY_UPDATE, "install", f"{releases.url}/good"],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    points.point(direct.returncode == 0 and "release 2.0.0 is in slot b" in direct.stdout and
                 settled(daemon)["update"]["state"] == "done",
                 "granary-update takes a URL by itself, and the API shows it", direct)
    back = daemon.granary("appliance", "rollback", "--yes")
    points.point(back.returncode == 0 and "slot b" in back.stdout and machine.env()["slot"] == "b",
                 "the other slot is started next", back)


def killed(points, daemon, machine, releases):
    """granary-update dies: it is no update under way."""
    with open("/run/granary/update.json", "w", encoding="ascii") as file:
        json.dump({"state": "writing", "kind": "install", "version": "3", "slot": "b", "done_bytes": 1,
                   "size_bytes": 9, "code": "", "detail": ""}, file)
    state = daemon.good("GET", UPDATE)
    points.point(not state["under_way"] and state["update"]["state"] == "failed" and
                 state["update"]["code"] == "update_stopped", "an update that died has failed", state)
    again = daemon.call("POST", f"{UPDATE}?dry_run=1", {"url": f"{releases.url}/good"})
    points.point(again["status"] == 200, "and another may be begun", again)
    points.point("Sanitizer" not in machine.update_log() and "runtime error" not in machine.update_log(),
                 "nothing is wrong with granary-update", machine.update_log()[-2000:])


def until(ask, true, seconds=60):
    limit = time.monotonic() + seconds
    while not true(found := ask()) and time.monotonic() < limit:
        time.sleep(0.1)
    return found


def the_job(daemon):
    found = [job for job in daemon.good("GET", f"{V1}/jobs") if job["id"] == "update"]
    return found[0] if found else {}


def cancelled(points, daemon, machine, releases):
    """An install is a job, and can be given up while it writes."""
    idle = daemon.call("DELETE", UPDATE)
    points.point(idle["status"] == 409 and idle["body"]["code"] == "no_update_under_way",
                 "there is nothing to cancel", idle)
    daemon.good("POST", UPDATE, {"url": f"{releases.url}/good"})
    settled(daemon)
    done = the_job(daemon)
    points.point(done["kind"] == "update" and done["state"] == "done" and done["progress"] == 1 and
                 done["object"] == "2.0.0" and done["started"] <= done["ended"] and done["ended"][:2] == "20",
                 "an update that is done is a job that is done", done)
    daemon.good("POST", UPDATE, {"url": f"{releases.url}/slow"})
    job = until(lambda: the_job(daemon), lambda job: job.get("progress", 0) > 0.2)
    points.point(job["state"] == "running" and job["step"] == "writing" and 0.2 < job["progress"] < 1 and
                 job["started"] and not job["ended"] and
                 until(lambda: the_job(daemon), lambda job: job["eta_seconds"] > 1)["eta_seconds"] > 1,
                 "one that writes is a job with progress and what is to go", job)
    begun, reply = time.monotonic(), daemon.call("DELETE", UPDATE)
    took, job, env = time.monotonic() - begun, the_job(daemon), machine.env()
    points.point(reply["status"] == 200 and reply["body"]["update"]["code"] == "update_cancelled" and
                 not reply["body"]["under_way"] and took < 20,
                 "it is cancelled, though the server of the release is silent", [took, reply])
    points.point(job["state"] == "stopped" and "slot b holds no release" in job["text"] and job["ended"] and
                 env["slot"] == "a" and env["good"] == "1" and not env.get("failed"),
                 "the job says so, and the next start is from the slot that runs", [job, env])
    back = daemon.call("POST", f"{UPDATE}/rollback")
    points.point(machine.boots("b") == [] and back["status"] == 422 and
                 back["body"]["code"] == "no_other_release" and machine.env()["slot"] == "a",
                 "nothing starts from the half that was written", [machine.boots("b"), back])
    told = daemon.granary("appliance", "cancel")
    points.point(told.returncode == 1 and "nothing to cancel" in told.stderr, "the command has it too", told)
    # Said before granary-update has begun.
    machine.gate.clear()
    asks = threading.Thread(target=lambda: daemon.call("POST", UPDATE, {"url": f"{releases.url}/good"}))
    asks.start()
    until(lambda: machine.waits, bool)
    with open("/run/granary/update.stop", "wb"):
        pass
    machine.gate.set()
    asks.join(60)
    state = settled(daemon)
    points.point(state["update"]["code"] == "update_cancelled" and
                 "before anything was written" in state["update"]["detail"],
                 "what is said before it begins counts", state)
    again = daemon.good("POST", UPDATE, {"url": f"{releases.url}/good"})
    state = settled(daemon)
    points.point(state["update"]["state"] == "done" and machine.env()["slot"] == "b" and
                 len(machine.boots("b")) == 2, "the next one is none that was cancelled", [again, state])


def cut_off(points, daemon, machine, releases):
    """granary-update dies with kernel and initrd in the slot and half of the root, as when the power goes:
    the slot is known as no release from before its first byte, until all of another one is in it."""
    daemon.good("POST", UPDATE, {"url": f"{releases.url}/slow"})
    job = until(lambda: the_job(daemon), lambda job: job.get("progress", 0) > 0.3)
    machine.children[-1].kill()
    machine.children[-1].wait()
    state, env = settled(daemon), machine.env()
    points.point(machine.boots("b") == ["initrd", "vmlinuz"] and env.get("half") == "b" and
                 env["slot"] == "a" and env["good"] == "1",
                 "cut off in the middle of the root: the boot loader knows that slot b is half",
                 [job, machine.boots("b"), env])
    told = subprocess.run([GRANARY_UPDATE, "status"],
                          stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    shown = daemon.granary("appliance", "release")
    points.point(state["incomplete"] == "b" and "half     b (no complete release" in told.stdout and
                 "INCOMPLETE" in shown.stdout, "so do the API, the console's status and the command",
                 [state, told, shown])
    replies = [daemon.call("POST", f"{UPDATE}/rollback{query}") for query in ("?dry_run=1", "")]
    direct = subprocess.run([GRANARY_UPDATE, "rollback"],
                            stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    points.point(all(reply["status"] == 422 and reply["body"]["code"] == "no_other_release" and
                     "no complete release" in reply["body"]["detail"] for reply in replies) and
                 direct.returncode == 1 and "no complete release" in direct.stderr and machine.env() == env,
                 "nobody goes back to it", [replies, direct, machine.env()])
    daemon.good("POST", UPDATE, {"url": f"{releases.url}/good"})
    state, env = settled(daemon), machine.env()
    points.point(state["update"]["state"] == "done" and state["incomplete"] == "" and "half" not in env and
                 env["slot"] == "b", "a whole one takes its place, and is startable", [state, env])


def by_https(points, daemon, front, bundles):
    """Roles, the password again, bytes as they are, and the audit log."""
    code = daemon.good("GET", f"{V1}/setup")["code"]
    admin = front.client()
    made = admin.call("POST", f"{V1}/setup", {"code": code, "name": "root", "password": "long enough 1"})
    unconfirmed = [admin.call("POST", UPDATE, {}), admin.call("POST", f"{UPDATE}?dry_run=1", {}),
                   admin.call("POST", f"{UPDATE}/rollback")]
    points.point(all(reply.status == 403 and reply.body["code"] == "confirm_first" for reply in unconfirmed),
                 "it wants the password again", unconfirmed)
    admin.call("POST", f"{V1}/me/confirm", {"password": "long enough 1"})
    admin.call("POST", f"{V1}/accounts", {"name": "op", "role": "operator", "password": "long enough 2"})
    operator = front.client()
    operator.call("POST", f"{V1}/login", {"name": "op", "password": "long enough 2"})
    tries = [operator.call("POST", UPDATE, {}), operator.call("DELETE", UPDATE), operator.call("POST", f"{UPDATE}/rollback"),
             operator.call("POST", f"{UPDATE}/bundle", {"name": "x", "size": 5})]
    points.point(made.status in (200, 201) and operator.call("GET", UPDATE).status == 200 and
                 all(reply.status == 403 and reply.body["code"] == "role_too_low" for reply in tries),
                 "an operator sees it, an administrator does it", tries)
    admin = front.client()
    admin.call("POST", f"{V1}/login", {"name": "root", "password": "long enough 1"})
    data = bundles["good"]
    admin.call("POST", f"{UPDATE}/bundle", {"name": "web", "size": len(data)})
    sent = [admin.call("PUT", f"{UPDATE}/bundle?offset={at}", raw=data[at:at + PIECE],
                       headers={"Content-Type": "application/octet-stream"})
            for at in range(0, len(data), PIECE)]
    done = admin.call("POST", f"{UPDATE}/bundle/done", {"sha256": hashlib.sha256(data).hexdigest()})
    points.point(all(reply.status == 200 for reply in sent) and done.status == 201 and done.body["checked"],
                 "over HTTPS the pieces are bytes", [sent[-1], done])
    dropped = admin.call("DELETE", f"{UPDATE}/bundle")
    points.point(dropped.status == 200 and "bundle" not in admin.call("GET", UPDATE).body,
                 "what was uploaded can be deleted", dropped)
    entries = [(entry["method"], entry["path"]) for entry in admin.call("GET", f"{V1}/audit").body]
    points.point(("POST", UPDATE) in entries and ("POST", f"{UPDATE}/rollback") in entries and
                 ("POST", f"{UPDATE}/bundle/done") in entries and
                 not any(method == "PUT" and path.startswith(UPDATE) for method, path in entries),
                 "the audit log has the update and the upload, and not each piece", entries[:20])


def confirmed(points, daemon, machine):
    """A release that is kept: no start goes back to a copy of the configuration from before it."""
    copy = "/var/lib/granary/config.db.v7"

    def is_kept():
        return not os.path.exists(copy) and os.path.exists(f"{copy}.kept")

    for running, trial in (("a", False), ("b", True)):
        with open(os.path.join(machine.folder, "cmdline"), "w", encoding="ascii") as file:
            file.write(f"quiet root=PARTLABEL=root-{running} ro\n")
        with open(copy, "wb"):
            pass
        before = machine.env()
        told = subprocess.Popen([GRANARY_UPDATE, "good"], stdin=subprocess.DEVNULL)
        try:
            time.sleep(2)
            points.point(told.poll() is None and os.path.exists(copy) and
                         (before["slot"] == running and before["good"] != "1") == trial,
                         f"slot {running}, on trial {trial}: the daemon may still need the copy", before)
            os.symlink(f"{daemon.state}/control.sock", "/var/lib/granary/control.sock")
            points.point(told.wait(60) == 0 and is_kept() and (machine.env()["good"] == "1") == trial,
                         "when it serves, the copy is for people alone",
                         [os.listdir("/var/lib/granary"), machine.env()])
        finally:
            told.kill()
            told.wait()
        os.unlink("/var/lib/granary/control.sock")
        os.unlink(f"{copy}.kept")


def test(points):
    slots.needed()
    with tempfile.TemporaryDirectory() as folder, loops.Loops(folder, 2, "48M") as disks:
        daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
        machine = front = releases = None
        try:
            no_appliance(points, daemon)
            points.point(daemon.stop() == 0, "a plain daemon stops")
            machine = slots.Machine(folder, disks.paths)
            bundles, contents = slots.make_bundles(machine)
            releases = slots.Releases(folder, bundles)
            daemon = api.Daemon(os.path.join(folder, "state"), pool=False)
            front = web.Front(daemon.state)
            settings(points, daemon, machine)
            by_pieces(points, daemon, machine, bundles)
            refused(points, daemon, machine, bundles, releases)
            second(points, daemon, machine, releases)
            dry(points, daemon, machine, releases, bundles)
            installed(points, daemon, machine, contents)
            by_command(points, daemon, machine, releases, bundles)
            cancelled(points, daemon, machine, releases)
            cut_off(points, daemon, machine, releases)
            killed(points, daemon, machine, releases)
            by_https(points, daemon, front, bundles)
            confirmed(points, daemon, machine)
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])
            if machine:
                machine.close()
            if releases:
                releases.close()


if __name__ == "__main__":
    if os.getuid() == 0 and "--inside" not in sys.argv:
        COMMAND = slots.inside(__file__, "--inside")
        os.execvp(COMMAND[0], COMMAND)
    tap.run(test)

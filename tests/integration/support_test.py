#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=180 asan
"""Support bundles: secrets are planted wherever there is room for one, and none is in the bundle,
whoever makes it; what somebody needs is in it; roles, bounds, and a bundle without a daemon."""

import base64
import io
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

V1 = "/api/v1"
PASSWORD = "Correct-Horse-7731"
SECRETS = {
    "password of an account": PASSWORD,
    "CHAP secret": "chapsecret0one-4711",
    "secret of mutual CHAP": "mutualsecret0two-4712",
    "CHAP secret of discovery": "findersecret0three",
    "path of a webhook": "T0KENPATH/B1GS3CRET",
    "secret of a webhook": "hooksigningsecret-9",
    "password of e-mail": "mailpassword-815",
    "password of an SMB user": "smb-password-4242",
}
ROOT = "granary-support/"


def plant(points, daemon, admin):
    """Each secret in its own place, and some where they do not belong."""
    iqn = "iqn.2026-11.org.example:t"
    calls = (
        ("POST", "/targets", {"iqn": iqn}),
        ("POST", f"/targets/{iqn}/rules",
         {"initiator": "any", "chap_user": "alice", "chap_secret": SECRETS["CHAP secret"],
          "mutual_user": "box", "mutual_secret": SECRETS["secret of mutual CHAP"]}),
        ("PUT", "/discovery",
         {"chap_user": "finder", "chap_secret": SECRETS["CHAP secret of discovery"]}),
        ("POST", "/alert-channels",
         {"name": "hook", "kind": "webhook", "url": f"https://hooks.example/{SECRETS['path of a webhook']}",
          "secret": SECRETS["secret of a webhook"], "enabled": False}),
        ("POST", "/alert-channels",
         {"name": "mail", "kind": "email", "url": "smtps://mail.example:465", "from": "box@example.org",
          "to": ["eve@example.org"], "user": "box", "secret": SECRETS["password of e-mail"],
          "enabled": False}),
        ("PUT", "/smb/users/sam", {"password": SECRETS["password of an SMB user"]}),
        # Where no secret should be: a name.
        ("POST", "/volumes", {"pool": "tank", "name": "v-" + SECRETS["CHAP secret"],
                              "size": "1M"}),
        ("POST", "/targets", {"iqn": iqn + "2", "alias": "password: " + PASSWORD}))
    for method, path, body in calls:
        reply = daemon.call(method, V1 + path, body)
        if not points.point(reply["status"] < 300, f"{method} {path}", reply):
            return None
    admin.call("POST", f"{V1}/me/confirm", {"password": PASSWORD})
    token = admin.call("POST", f"{V1}/tokens", {"name": "robot", "role": "admin"})
    points.point(token.status == 201, "a token", token)
    return token.body["token"]


def members(data):
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as file:
        return {entry.name: file.extractfile(entry).read() for entry in file.getmembers()}


def shapes(secret):
    """As it may stand somewhere."""
    raw = secret.encode() if isinstance(secret, str) else secret
    return {raw, base64.b64encode(raw), base64.urlsafe_b64encode(raw), raw.hex().encode(),
            raw.hex().upper().encode()}


def leaks(files, secrets):
    return [f"{what} in {name}" for what, secret in secrets.items()
            for name, data in files.items() for shape in shapes(secret) if shape in data]


def key_lines(state):
    """Of private keys in files of the state."""
    with open(os.path.join(state, "web", "key.pem"), "rb") as file:
        lines = [line.strip() for line in file if b"-----" not in line]
    with open(os.path.join(state, "secret.key"), "rb") as file:
        return {"the web front's key": lines[0], "secret.key": file.read()}


def names(files):
    return sorted(name.removeprefix(ROOT) for name in files)


def holds(points, files, what):
    wanted = {"contents.json", "versions.json", "logs/granaryd.txt", "machine/meminfo",
              "machine/mounts", "api/status.json", "api/configuration.json", "api/metrics.txt",
              "api/pools.json", "api/pools/tank.json", "api/pools/tank/scrub.json",
              "api/volumes.json", "api/sessions.json", "api/disks.json", "api/alerts.json",
              "api/audit.json", "api/alert-channels.json"}
    points.point(not wanted - set(names(files)) and all(name.startswith(ROOT) for name in files),
                 f"{what}: all that is wanted", f"{wanted - set(names(files))}\n{names(files)}")
    documents = [name for name in files if name.endswith(".json")]
    for name in documents:
        json.loads(files[name])
    contents = json.loads(files[ROOT + "contents.json"])
    points.point({entry["name"] for entry in contents["files"]} | {"contents.json"} ==
                 set(names(files)) and contents["left_out"] == 0,
                 f"{what}: and it says what it holds", contents)
    pools = json.loads(files[ROOT + "api/pools.json"])
    channel = files[ROOT + "api/alert-channels.json"].decode()
    points.point(pools[0]["name"] == "tank" and "hooks.example" in channel and
                 b"granary_" in files[ROOT + "api/metrics.txt"],
                 f"{what}: pools, channels and metrics are told", channel)
    points.point(b"READY" in files[ROOT + "logs/granaryd.txt"] or
                 re.search(rb"^\d{4}-\d\d-\d\dT\S+Z <\d> ", files[ROOT + "logs/granaryd.txt"]),
                 f"{what}: and the daemon's log", files[ROOT + "logs/granaryd.txt"][:500])


def by_command(points, daemon, folder, secrets):
    path = os.path.join(folder, "one.tar.gz")
    done = daemon.granary("support", "bundle", path)
    if not points.point(done.returncode == 0, "granary support bundle", done.stderr):
        return
    points.point(os.stat(path).st_mode & 0o777 == 0o600 and os.path.getsize(path) < 3 << 20,
                 "a file of its owner's, of bounded size", os.stat(path))
    listed = subprocess.run(["tar", "-tzf", path], capture_output=True, text=True, timeout=60,
                            check=False)
    points.point(listed.returncode == 0 and not listed.stderr, "tar reads it", listed.stderr)
    with open(path, "rb") as file:
        files = members(file.read())
    holds(points, files, "the command's")
    found = leaks(files, secrets)
    points.point(not found, "and of what was planted nothing is in it", "\n".join(found))
    points.point(any(b"(removed)" in data for data in files.values()),
                 "for it was taken out")
    done = daemon.granary("support", "bundle", path)
    points.point(done.returncode == 1 and "exists" in done.stderr,
                 "a file that is there is not written over", done.stderr)


def by_web(points, front, admin, token, secrets):
    points.point(front.client().call("GET", f"{V1}/support/bundle").status == 401,
                 "nobody gets none")
    made = admin.call("POST", f"{V1}/tokens", {"name": "low", "role": "operator"})
    low = front.client(token=made.body["token"])
    points.point(low.call("GET", f"{V1}/support/bundle").status == 403, "an operator neither")
    reply = front.client(token=token).call("GET", f"{V1}/support/bundle")
    points.point(reply.status == 200 and reply.headers["Content-Type"] == "application/gzip" and
                 re.fullmatch(r'attachment; filename="granary-support-\d{8}-\d{6}\.tar\.gz"',
                              reply.headers["Content-Disposition"]),
                 "an administrator gets a file", reply.headers)
    files = members(reply.data)
    holds(points, files, "the web's")
    found = leaks(files, secrets)
    points.point(not found, "without what was planted", "\n".join(found))
    audit = admin.call("GET", f"{V1}/audit").body
    rows = audit["entries"] if isinstance(audit, dict) else audit
    points.point(any("support/bundle" in json.dumps(row) for row in rows),
                 "and it is in the audit log", rows[:3])


def log_lines(points, daemon, front, token, secrets):
    """The log by itself: the last lines, by severity, without secrets."""
    admin = front.client(token=token)
    made = admin.call("POST", f"{V1}/tokens", {"name": "reader", "role": "operator"})
    points.point(front.client(token=made.body["token"]).call("GET", f"{V1}/logs").status == 403,
                 "the log is an administrator's")
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "logged", "size": "1M"})
    reply = admin.call("GET", f"{V1}/logs?lines=1000")
    lines = reply.body["lines"]
    points.point(reply.status == 200 and lines[-1]["text"] == "volume tank/logged created" and
                 lines[-1]["severity"] == "notice" and
                 all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", line["at"])
                     for line in lines) and len(lines) > 10, "and has what was said last", lines[-3:])
    # That one is a volume's name here, which every list shows.
    hidden = {what: secret for what, secret in secrets.items() if what != "CHAP secret"}
    found = leaks({"the log": json.dumps(lines).encode()}, hidden)
    points.point(not found, "without what was planted", found)
    less = admin.call("GET", f"{V1}/logs?severity=warning&lines=1000").body["lines"]
    points.point(less == [line for line in lines if line["severity"] in ("error", "warning")],
                 "what is less severe is left out", less)
    points.point(admin.call("GET", f"{V1}/logs?lines=3").body["lines"] == lines[-3:],
                 "a few of them", lines[-3:])
    for query in ("lines=0", "lines=1001", "lines=x", "severity=loud", "severity="):
        points.point(admin.call("GET", f"{V1}/logs?{query}").body.get("code") == "bad_query",
                     f"refused: {query}")
    said = daemon.granary("log", "list", "--lines", "2")
    points.point(said.returncode == 0 and said.stdout.splitlines()[-1].endswith(lines[-1]["text"])
                 and len(said.stdout.splitlines()) == 3, "granary log list", said)


def without_daemon(points, folder, daemon):
    path = os.path.join(folder, "alone.tar.gz")
    done = daemon.granary("support", "bundle", path, "-o", "json")
    if not points.point(done.returncode == 0 and json.loads(done.stdout)["without_daemon"],
                        "without a daemon there is one too", done.stderr):
        return
    with open(path, "rb") as file:
        files = members(file.read())
    said = json.loads(files[ROOT + "daemon.json"])
    points.point("control.sock" in said["no_daemon"] and
                 "config.db" in [entry["name"] for entry in said["state"]] and
                 "machine/mounts" in names(files), "of what can be said", said)


def set_up(points, daemon, front):
    code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M).group(1)
    files = members(base64.b64decode(daemon.call("GET", f"{V1}/support/bundle")["body"]))
    points.point(not leaks(files, {"the set-up code": code}), "the set-up code is not in a bundle")
    client = front.client()
    reply = client.call("POST", f"{V1}/setup", {"code": code, "name": "root",
                                                "password": PASSWORD})
    points.point(reply.status == 201, "the first account", reply)
    return client, code


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        front = None
        try:
            front = web.Front(daemon.state)
            admin, code = set_up(points, daemon, front)
            token = plant(points, daemon, admin)
            if not token:
                return
            secrets = {**SECRETS, "set-up code": code, "token": token,
                       "session": admin.cookie, **key_lines(daemon.state)}
            by_command(points, daemon, folder, secrets)
            by_web(points, front, admin, token, secrets)
            log_lines(points, daemon, front, token, secrets)
        finally:
            if front:
                front.stop()
            status = daemon.stop()
        points.point(status == 0, "the daemon stops cleanly", daemon.log()[-2000:])
        without_daemon(points, folder, daemon)


if __name__ == "__main__":
    tap.run(test)

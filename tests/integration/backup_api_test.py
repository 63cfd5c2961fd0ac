#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: engines=one timeout=180 asan
"""A backup of the configuration by way of the API: made and fetched in pieces, worth nothing without its
passphrase, the same file that the command makes; uploaded, looked at without a change, staged, in place
with the next start, also when that is cut off; taken back; damaged and newer ones refused."""

import base64
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.granary:backup"
PHRASE = "correct horse battery"
PIECE = 1 << 20


def make(daemon):
    made = daemon.good("POST", f"{V1}/backup", {"passphrase": PHRASE})
    data = b""
    while len(data) < made["size_bytes"]:
        reply = daemon.call("GET", f"{V1}/backup/{made['id']}?offset={len(data)}")
        data += base64.b64decode(reply["body"])
    return made, data


def upload(daemon, data):
    for at in range(0, len(data), PIECE):
        text = base64.b64encode(data[at:at + PIECE]).decode()
        reply = daemon.call("PUT", f"{V1}/backup/upload?offset={at}", {"data": text})
        if reply["status"] != 200:
            return reply
    return reply


def restore(daemon, phrase=PHRASE, dry=False):
    return daemon.call("POST", f"{V1}/backup/restore{'?dry_run=1' if dry else ''}",
                       {"passphrase": phrase})


def set_up(daemon):
    """An administrator's work, and more of an audit log than one piece holds."""
    daemon.good("POST", f"{V1}/targets", {"iqn": IQN})
    daemon.good("POST", f"{V1}/targets/{IQN}/rules", {"initiator": "iqn.2026-11.org.test:a", "chap_user": "u",
                                                      "chap_secret": "plain-secret-of-chap"})
    daemon.good("POST", f"{V1}/hosts", {"name": "group", "initiators": ["iqn.2026-11.org.test:a"]})
    daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": "files"})
    daemon.good("POST", f"{V1}/accounts", {"name": "root", "role": "admin", "password": "0123456789"})
    daemon.good("POST", f"{V1}/accounts", {"name": "eve", "role": "operator",
                                           "password": "0123456789"})
    daemon.good("POST", f"{V1}/alert-channels", {"name": "pager", "kind": "webhook",
                                                 "url": "https://x.example/" + "y" * 90})
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as config:
        config.execute("create table ballast(x blob)")
        config.execute("insert into ballast values(randomblob(1500000))")


def made_and_fetched(points, daemon, folder):
    made, data = make(daemon)
    points.point(len(data) == made["size_bytes"] > PIECE and data.startswith(b"GRANARYB") and
                 made["filename"].endswith(".backup"), "it is made, and fetched in pieces", made)
    points.point(not any(words in data for words in (b"plain-secret", b"SQLite format", b"iqn.20")),
                 "it tells nothing")
    reply = daemon.call("GET", f"{V1}/backup/{made['id']}?offset={len(data)}")
    other = daemon.call("GET", f"{V1}/backup/0000000000000000")
    points.point(reply["status"] == other["status"] == 404, "there is no more of it", (reply, other))
    reply = daemon.call("POST", f"{V1}/backup", {"passphrase": "short"})
    points.point(reply["status"] == 400, "a short passphrase is refused", reply)
    path, phrase = os.path.join(folder, "file"), os.path.join(folder, "phrase")
    with open(path, "wb") as file:
        file.write(data)
    with open(phrase, "w", encoding="ascii") as file:
        file.write(PHRASE + "\n")
    fresh = os.path.join(folder, "fresh")
    os.makedirs(fresh)
    done = subprocess.run([os.path.join(api.BUILD, "granary"), "--state", fresh, "config", "restore",
                           path, "--passphrase-file", phrase, "--yes"], capture_output=True,
                          text=True, check=False)
    points.point(done.returncode == 0 and os.path.exists(os.path.join(fresh, "config.db")),
                 "the command can restore it", done.stderr)
    shutil.rmtree(fresh)
    audit = [one["path"] for one in daemon.good("GET", f"{V1}/audit")
             if one["path"].endswith("/backup")]
    points.point(len(audit) == 2 and PHRASE not in daemon.log(), "the audit log has it, no log the secret",
                 audit)
    return data


def refused(points, daemon, data):
    reply = restore(daemon)
    points.point(reply["status"] == 409 and reply["body"]["code"] == "nothing_uploaded",
                 "nothing is uploaded", reply)
    upload(daemon, data)
    points.point(daemon.good("GET", f"{V1}/backup") == {"staged": False, "damaged": False,
                                                       "uploaded_bytes": len(data)},
                 "it is uploaded in pieces")
    reply = daemon.call("PUT", f"{V1}/backup/upload?offset=5", {"data": "AAAA"})
    points.point(reply["status"] == 409 and str(len(data)) in reply["body"]["detail"],
                 "a piece at a wrong place is refused, and told where", reply)
    reply = restore(daemon, "another passphrase")
    points.point(reply["body"]["code"] == "wrong_passphrase", "another passphrase opens nothing", reply)
    upload(daemon, data[:-1] + bytes([data[-1] ^ 1]))
    points.point(restore(daemon)["body"]["code"] == "wrong_passphrase", "nor is a damaged one taken")
    upload(daemon, b"something else" * 10)
    points.point(restore(daemon)["body"]["code"] == "bad_backup", "nor what is no backup")
    points.point(not daemon.good("GET", f"{V1}/backup")["staged"] and
                 not os.path.exists(os.path.join(daemon.state, "restore.ready")),
                 "and nothing is staged")


def changes_of(reply):
    return {(one["what"], one["name"], one["change"]) for one in reply["body"]["changes"]}


def looked_at(points, daemon, data):
    """What has changed since comes back, and what is new goes; nothing happens yet."""
    daemon.good("DELETE", f"{V1}/targets/{IQN}")
    daemon.good("PATCH", f"{V1}/accounts/eve", {"role": "viewer"})
    daemon.good("POST", f"{V1}/hosts", {"name": "later", "initiators": []})
    upload(daemon, data)
    before = daemon.good("GET", f"{V1}/configuration")
    reply = restore(daemon, dry=True)
    changes = changes_of(reply)
    points.point(reply["body"]["dry_run"] and not reply["body"]["staged"] and
                 {("target", IQN, "comes"), ("account", "eve", "changes"),
                  ("host", "later", "goes"), ("rule", f"{IQN} iqn.2026-11.org.test:a ", "comes")} <= changes and
                 not [one for one in changes if one[0] in ("pool", "share", "channel")],
                 "what would change is told, and no more", changes)
    points.point(daemon.good("GET", f"{V1}/configuration") == before and
                 not daemon.good("GET", f"{V1}/backup")["staged"], "and nothing has")


def again(daemon):
    """Another daemon on the same state."""
    return api.Daemon(daemon.state, pool=False)


def staged(points, daemon, data):
    points.point(restore(daemon)["body"]["staged"], "it is staged")
    points.point(daemon.good("GET", f"{V1}/backup")["staged"] and
                 len(daemon.good("GET", f"{V1}/hosts")) == 2, "nothing has changed before a restart")
    would = daemon.good("DELETE", f"{V1}/backup?dry_run=1")
    points.point(would["what"] == "backup" and would["before"]["staged"] and would["after"]["staged"] is False and
                 daemon.good("GET", f"{V1}/backup")["staged"], "taking it back is tried out", would)
    daemon.good("DELETE", f"{V1}/backup")
    points.point(not [name for name in os.listdir(daemon.state) if name.endswith((".next", ".ready"))],
                 "it can be taken back")
    upload(daemon, data)
    restore(daemon)
    daemon.stop()
    daemon = again(daemon)
    roles = {one["name"]: one["role"] for one in daemon.good("GET", f"{V1}/accounts")}
    points.point([one["iqn"] for one in daemon.good("GET", f"{V1}/targets")] == [IQN] and
                 [one["name"] for one in daemon.good("GET", f"{V1}/hosts")] == ["group"] and
                 roles == {"root": "admin", "eve": "operator"} and
                 daemon.good("GET", f"{V1}/shares")[0]["state"] == "online",
                 "with the next start all is as it was, and pools are served", roles)
    points.point(not daemon.good("GET", f"{V1}/backup")["staged"], "once")
    return daemon


def cut_off(points, daemon, data):
    """The start that puts it in place was cut off after the first part."""
    daemon.good("POST", f"{V1}/hosts", {"name": "later", "initiators": []})
    daemon.good("PATCH", f"{V1}/accounts/eve", {"role": "viewer"})
    upload(daemon, data)
    restore(daemon)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon.stop()
    path = os.path.join(daemon.state, "config.db")
    for suffix in ("-wal", "-shm"):
        if os.path.exists(path + suffix):
            os.unlink(path + suffix)
    os.rename(path + ".next", path)
    daemon = again(daemon)
    roles = {one["name"]: one["role"] for one in daemon.good("GET", f"{V1}/accounts")}
    points.point([one["name"] for one in daemon.good("GET", f"{V1}/hosts")] == ["group"] and
                 roles == {"root": "admin", "eve": "operator"}, "one that was cut off is gone on with", roles)
    return daemon


def marker_damaged(points, daemon, data):
    """The list of what comes can not be read: the daemon goes on with what it has, and says so."""
    daemon.good("POST", f"{V1}/hosts", {"name": "later", "initiators": []})
    upload(daemon, data)
    restore(daemon)
    daemon.stop()
    with open(os.path.join(daemon.state, "restore.ready"), "r+b") as file:
        file.write(b"\xff" * 12)
    daemon = again(daemon)
    points.point({one["name"] for one in daemon.good("GET", f"{V1}/hosts")} == {"group", "later"},
                 "with a damaged list nothing is restored, and it serves what it had")
    points.point(daemon.good("GET", f"{V1}/backup") == {"staged": False, "damaged": True,
                                                       "uploaded_bytes": 0} and
                 "put aside as restore.damaged" in daemon.log(), "the API and the log say it",
                 daemon.log()[-2000:])
    points.point(told(daemon), "and an alert", daemon.good("GET", f"{V1}/alerts"))
    left = [name for name in os.listdir(daemon.state) if name.endswith((".next", ".ready"))]
    points.point(not left, "nothing else of it is left", left)
    upload(daemon, data)
    restore(daemon)
    points.point(not daemon.good("GET", f"{V1}/backup")["damaged"] and told(daemon, False),
                 "it is settled when another is staged", daemon.good("GET", f"{V1}/alerts"))
    daemon.stop()
    daemon = again(daemon)
    points.point([one["name"] for one in daemon.good("GET", f"{V1}/hosts")] == ["group"],
                 "which is in place with the next start")
    return daemon


def begun_and_damaged(points, daemon, data):
    """It was cut off half way, and by then nobody can know what else was to come: no daemon runs on parts of
    two configurations, and no backup is made of them. A restore by hand mends it."""
    file, phrase = daemon.state + ".backup", daemon.state + ".phrase"
    for name, content in ((file, data), (phrase, PHRASE.encode())):
        with open(name, "wb") as out:
            out.write(content)
    upload(daemon, data)
    restore(daemon)
    daemon.stop()
    os.rename(os.path.join(daemon.state, "config.db.next"), os.path.join(daemon.state, "config.db"))
    os.unlink(os.path.join(daemon.state, "restore.ready"))
    with open(os.path.join(daemon.state, "restore.begun"), "wb") as mark:
        mark.write(b"\xff" * 12)
    for _ in range(2):
        try:
            points.point(again(daemon).stop() != 0, "half of a restore: it does not start")
        except RuntimeError as error:
            points.point("parts of two configurations" in str(error) and "granary config restore" in str(error),
                         "half of a restore: it does not start, and says what to do", error)
        with open(os.path.join(daemon.state, "failure"), encoding="utf-8") as failure:
            points.point("parts of two configurations" in failure.read(), "the console is told")
    for verb in ("backup", "restore"):
        target = file + ".more" if verb == "backup" else file
        done = subprocess.run([os.path.join(api.BUILD, "granary"), "config", verb, target, "--passphrase-file",
                               phrase, "--state", daemon.state, "--yes"], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, check=False)
        points.point((done.returncode == 0) == (verb == "restore"),
                     f"config {verb} is {'done' if verb == 'restore' else 'refused'} then", done.stderr)
    daemon = again(daemon)
    points.point([one["name"] for one in daemon.good("GET", f"{V1}/hosts")] == ["group"] and
                 not [name for name in os.listdir(daemon.state) if name.startswith("restore.")],
                 "the configuration is that of the backup", os.listdir(daemon.state))
    return daemon


def told(daemon, fires=True):
    """Whether the alert comes to be as it should, within half a minute."""
    for _ in range(60):
        firing = [one for one in daemon.good("GET", f"{V1}/alerts")
                  if one["rule"] == "restore-damaged" and not one["cleared"]]
        if bool(firing) == fires:
            return True
        time.sleep(0.5)
    return False


def newer(points, daemon):
    """One that this program could not open is refused before it is in place."""
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as config:
        version = config.execute("pragma user_version").fetchone()[0]
        config.execute(f"pragma user_version = {version + 1}")
    _, data = make(daemon)
    with sqlite3.connect(os.path.join(daemon.state, "config.db")) as config:
        config.execute(f"pragma user_version = {version}")
    upload(daemon, data)
    reply = restore(daemon)
    points.point(reply["status"] == 422 and "newer version" in reply["body"]["detail"] and
                 not daemon.good("GET", f"{V1}/backup")["staged"], "a newer one is refused", reply)


def test(points):
    with tempfile.TemporaryDirectory(prefix="granary-backup-") as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            set_up(daemon)
            data = made_and_fetched(points, daemon, folder)
            refused(points, daemon, data)
            looked_at(points, daemon, data)
            daemon = staged(points, daemon, data)
            daemon = cut_off(points, daemon, data)
            daemon = marker_damaged(points, daemon, data)
            daemon = begun_and_damaged(points, daemon, data)
            newer(points, daemon)
        finally:
            points.point(daemon.stop() == 0, "clean stop")


if __name__ == "__main__":
    tap.run(test)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Changes that fail half-way, are only tried, or come a second time: what is served, configured and
held afterwards is what the answer said, also after a restart."""

import contextlib
import os
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import iscsi_client  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
IQN = "iqn.2026-11.org.granary:chap"


@contextlib.contextmanager
def broken_store(daemon, *statements):
    """The daemon's store with triggers that are not its own."""
    store = sqlite3.connect(os.path.join(daemon.state, "config.db"), isolation_level=None)
    for statement in statements:
        store.execute(statement)
    try:
        yield
    finally:
        store.execute("drop trigger broken")
        store.close()


def share_with_snapshot(points, daemon):
    daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": "iso", "quota": "64M"})
    daemon.good("POST", f"{V1}/shares/tank/iso/rules", {"client": "127.0.0.1"})
    daemon.good("POST", f"{V1}/snapshots", {"snapshots": ["tank/iso@a"]})
    reply = daemon.call("DELETE", f"{V1}/shares/tank/iso")
    share = daemon.call("GET", f"{V1}/shares/tank/iso")
    points.point(reply["status"] == 409 and reply["body"]["code"] == "volume_has_snapshots" and
                 share["status"] == 200 and share["body"]["state"] == "online" and
                 len(daemon.good("GET", f"{V1}/shares/tank/iso/rules")) == 1 and
                 daemon.good("POST", f"{V1}/shares/tank/iso/check", {})["clean"],
                 "a share with a snapshot is not deleted, and is served", [reply, share])
    daemon.good("DELETE", f"{V1}/volumes/tank/iso/snapshots/a")
    daemon.good("DELETE", f"{V1}/shares/tank/iso")
    points.point(not daemon.good("GET", f"{V1}/volumes") and not daemon.good("GET", f"{V1}/shares"),
                 "without it share and volume go")


def quota(points, daemon):
    daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": "q", "quota": "64M"})
    for none in (0, "0", "none"):
        daemon.good("PATCH", f"{V1}/shares/tank/q", {"quota": "64M"})
        reply = daemon.call("PATCH", f"{V1}/shares/tank/q", {"quota": none})
        points.point(reply["status"] == 200 and reply["body"]["quota_bytes"] == 0,
                     f"a quota of {none!r} is none", reply)
    daemon.good("DELETE", f"{V1}/shares/tank/q")


def dry(points, daemon):
    body = {"purpose": "vm-disks", "name": "maybe", "size": "1M", "hosts": ["10.0.0.1"]}
    last = daemon.good("GET", f"{V1}/events")["last"]
    for query in ("dry_run", "dry_run=", "dry_run=certainly", "limit=1&dry_run=1", "dry_run=true"):
        reply = daemon.call("POST", f"{V1}/provision?{query}", body)
        points.point(reply["status"] == 200 and reply["body"].get("dry_run"),
                     f"?{query} carries nothing out", reply)
        reply = daemon.call("POST", f"{V1}/volumes?{query}", {"pool": "tank", "name": "maybe",
                                                             "size": "1M"})
        points.point(reply["status"] == 200 and reply["body"].get("dry_run"), "nor is it of a volume",
                     reply)
        reply = daemon.call("POST", f"{V1}/pools/tank/check?{query}")
        points.point(reply["status"] == 422, "and is refused where there is no such thing", reply)
    events = daemon.good("GET", f"{V1}/events?after={last}")["events"]
    points.point(not daemon.good("GET", f"{V1}/volumes") and not daemon.good("GET", f"{V1}/hosts") and
                 not [event for event in events if event["kind"] == "change"],
                 "no volume was made, no change was told", events)
    daemon.good("POST", f"{V1}/volumes?dry_run=0", {"pool": "tank", "name": "real", "size": "1M"})
    daemon.good("DELETE", f"{V1}/volumes/tank/real")


def proof(points, daemon):
    replies = [daemon.call("POST", f"{V1}/pools/tank/prove", {"seconds": 1}, idempotency_key="p")
               for _ in range(2)]
    points.point(replies[0]["status"] == 200 and replies[0] == replies[1] and
                 "verdict" in replies[0]["body"], "a proof that is asked for again is the same one",
                 replies)


def discovers(daemon):
    try:
        with iscsi_client.Connection("127.0.0.1", daemon.port) as connection:
            connection.login(None)
        return True
    except iscsi_client.LoginFailed:
        return False


def discovery(points, daemon):
    """The commit fails, not a statement before it."""
    secret = {"chap_user": "finder", "chap_secret": "a-secret-for-finders"}
    with broken_store(daemon, "create table probe(id integer references rule(id)"
                      " deferrable initially deferred)",
                      "create trigger broken after insert on discovery"
                      " begin insert into probe values(-1); end"):
        reply = daemon.call("PUT", f"{V1}/discovery", secret)
        points.point(reply["status"] >= 400 and discovers(daemon),
                     "a discovery rule that could not be kept is not in force", reply)
    daemon.good("PUT", f"{V1}/discovery", secret)
    points.point(not discovers(daemon), "one that was kept is")
    daemon.good("DELETE", f"{V1}/discovery")


def fifo(points, daemon):
    """What a front that was taken over could leave there."""
    os.mkfifo(os.path.join(daemon.state, "web", "cert.pem"))
    reply = daemon.call("GET", f"{V1}/certificate")
    points.point(reply["status"] == 404, "a FIFO for a certificate holds nobody up", reply)
    os.unlink(os.path.join(daemon.state, "web", "cert.pem"))


def device(points, daemon):
    """The first volume on a device, which brings its pool's row."""
    path = os.path.join(daemon.state, "device")
    with open(path, "wb") as file:
        file.truncate(16 << 20)
    body = {"pool": "passthrough", "name": "dev", "device": path}
    with broken_store(daemon, "create trigger broken before insert on passthrough"
                      " begin select raise(abort, 'broken'); end"):
        reply = daemon.call("POST", f"{V1}/volumes", body)
        points.point(reply["status"] >= 400 and
                     daemon.call("GET", f"{V1}/volumes/passthrough/dev")["status"] == 404,
                     "a volume on a device that could not be recorded is not there", reply)
    daemon.good("POST", f"{V1}/volumes", body)


CHAP = {"initiator": "iqn.2026-11.test:a", "chap_user": "alice", "chap_secret": "a-secret-of-alice"}


def restarted(points, daemon):
    daemon.good("POST", f"{V1}/targets", {"iqn": IQN})
    daemon.good("POST", f"{V1}/targets/{IQN}/rules", CHAP)
    points.point(daemon.stop() == 0, "clean stop", daemon.log()[-2000:])
    os.unlink(os.path.join(daemon.state, "secret.key"))
    daemon = api.Daemon(daemon.state, pool=False)
    points.point("set it again" in daemon.log(), "a secret whose key is lost is told",
                 daemon.log()[-2000:])
    points.point(daemon.call("GET", f"{V1}/volumes/passthrough/dev")["status"] == 200,
                 "the volume on a device is there after a restart")
    daemon.good("POST", f"{V1}/targets/{IQN}/rules", CHAP)
    points.point(daemon.stop() == 0, "clean stop", daemon.log()[-2000:])
    daemon = api.Daemon(daemon.state, pool=False)
    points.point("set it again" not in daemon.log(), "set again, it is kept",
                 daemon.log()[-2000:])
    return daemon


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            for part in (share_with_snapshot, quota, dry, proof, discovery, fifo, device):
                part(points, daemon)
            daemon = restarted(points, daemon)
            reply = daemon.call("POST", f"{V1}/pools/tank/export", {})
            points.point(reply["status"] == 200, "nothing holds the pool", reply)
        finally:
            status = daemon.stop()
        points.point(status == 0, "clean stop", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)

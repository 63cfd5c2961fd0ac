#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""Images that are uploaded in pieces: over HTTPS as bytes, over the control socket as base64; gone
on with after kill -9, refused in the wrong place or with the wrong checksum, listed, deleted; and a
library of images in one request, which a real NFS client reads."""

import base64
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position
import web  # pylint: disable=wrong-import-position

V1 = "/api/v1"
PIECE = 1 << 20
IMAGES = f"{V1}/shares/tank/isos/images"
RANDOM = random.Random(7)
IMAGE = RANDOM.randbytes(2 * PIECE) + bytes(3 * PIECE) + RANDOM.randbytes(PIECE // 2 + 3)
LONG = RANDOM.randbytes(PIECE) * 70  # progress is kept after each 64 MiB


def sha(data):
    return hashlib.sha256(data).hexdigest()


def put(daemon, name, data, at):
    piece = base64.b64encode(data[at:at + PIECE]).decode()
    return daemon.call("PUT", f"{IMAGES}/{name}?offset={at}", {"data": piece})


def begin(daemon, name, data):
    return daemon.call("POST", IMAGES, {"name": name, "size": len(data)})


def send(daemon, name, data, start=0, end=None):
    """The pieces from @start on; the last answer."""
    reply = None
    for at in range(start, len(data) if end is None else end, PIECE):
        reply = put(daemon, name, data, at)
        if reply["status"] != 200:
            break
    return reply


def image(daemon, name):
    return next((one for one in daemon.good("GET", IMAGES) if one["name"] == name), None)


def library(points, daemon):
    body = {"purpose": "iso-library", "name": "isos", "size": "1G", "hosts": ["127.0.0.1", "10.0.0.0/8"]}
    plan = daemon.call("POST", f"{V1}/provision?dry_run=1", body)
    points.point(plan["status"] == 200 and plan["body"]["path"] == "/isos" and
                 not daemon.good("GET", f"{V1}/shares"), "what a library would be is told first", plan)
    bad = daemon.call("POST", f"{V1}/provision", {**body, "hosts": ["no host!"]})
    points.point(bad["status"] == 400 and bad["body"]["code"] == "bad_host" and
                 not daemon.good("GET", f"{V1}/volumes"), "a host that can not be one: nothing is made", bad)
    made = daemon.call("POST", f"{V1}/provision", body)
    points.point(made["status"] == 201 and made["body"]["share"] == "isos" and
                 made["body"]["hosts"] == body["hosts"], "a library in one request", made)
    share = daemon.good("GET", f"{V1}/shares/tank/isos")
    rules = daemon.good("GET", f"{V1}/shares/tank/isos/rules")
    points.point(share["quota_bytes"] == 1 << 30 and [one["client"] for one in rules] == body["hosts"] and
                 all(one["read_only"] for one in rules), "with its quota, and hosts that may read", (share, rules))
    again = daemon.call("POST", f"{V1}/provision", body)
    points.point(again["status"] == 409 and again["body"]["code"] == "volume_exists", "and no second one", again)
    told = daemon.granary("provision", "more", "1G", "*", "--purpose", "iso-library")
    points.point(told.returncode == 0 and "exported as /more" in told.stdout, "and by command",
                 told.stdout + told.stderr)


def upload(points, daemon):
    begun = begin(daemon, "a.iso", IMAGE)
    points.point(begun["status"] == 201 and begun["body"]["received_bytes"] == 0 and
                 begun["body"]["piece_bytes"] == PIECE, "an upload begins", begun)
    put(daemon, "a.iso", IMAGE, 0)
    for at, code in ((0, "wrong_offset"), (2 * PIECE, "wrong_offset")):
        reply = put(daemon, "a.iso", IMAGE, at)
        points.point(reply["status"] == 409 and reply["body"]["code"] == code,
                     f"a piece at {at} after one of {PIECE} is refused", reply)
    for body, code in (({"data": "####"}, "bad_piece"), ({"data": ""}, "bad_piece"),
                       ({"data": "QUJD="}, "bad_piece"),
                       ({"data": base64.b64encode(bytes(PIECE + 1)).decode()}, "bad_piece")):
        reply = daemon.call("PUT", f"{IMAGES}/a.iso?offset={PIECE}", body)
        points.point(reply["status"] == 400 and reply["body"]["code"] == code, "nor what is no piece", reply)
    part = image(daemon, "a.iso")
    points.point(part["uploading"] and part["received_bytes"] == PIECE and part["size_bytes"] == len(IMAGE),
                 "how far it is is listed", part)
    early = daemon.call("POST", f"{IMAGES}/a.iso/done", {})
    points.point(early["status"] == 409 and early["body"]["code"] == "not_all_there", "it is not done yet", early)
    send(daemon, "a.iso", IMAGE, PIECE)
    more = daemon.call("PUT", f"{IMAGES}/a.iso?offset={len(IMAGE)}", {"data": "QUJD"})
    points.point(more["status"] == 400 and more["body"]["code"] == "too_long", "more than was announced", more)
    done = daemon.call("POST", f"{IMAGES}/a.iso/done", {"sha256": sha(IMAGE).upper()})
    points.point(done["status"] == 201 and done["body"]["sha256"] == sha(IMAGE) and done["body"]["checked"],
                 "all of it, and its checksum is right", done)
    there = image(daemon, "a.iso")
    points.point(not there["uploading"] and there["sha256"] == sha(IMAGE) and
                 there["size_bytes"] == len(IMAGE) and len(daemon.good("GET", IMAGES)) == 1,
                 "it is there under its name, and no part is left", daemon.good("GET", IMAGES))
    taken = begin(daemon, "a.iso", IMAGE)
    points.point(taken["status"] == 409 and taken["body"]["code"] == "image_exists", "its name is taken", taken)


def wrong(points, daemon):
    for name in ("../x", ".x", "a/b", "x" * 201, ""):
        reply = daemon.call("POST", IMAGES, {"name": name, "size": 5})
        points.point(reply["status"] == 400, f"no image is named {name[:10]!r}", reply)
    for size in (0, 1 << 50):
        reply = daemon.call("POST", IMAGES, {"name": "x", "size": size})
        points.point(reply["status"] == 400 and reply["body"]["code"] == "bad_size", f"nor has {size} bytes", reply)
    begin(daemon, "bad.iso", IMAGE)
    send(daemon, "bad.iso", IMAGE)
    reply = daemon.call("POST", f"{IMAGES}/bad.iso/done", {"sha256": sha(b"other")})
    points.point(reply["status"] == 422 and reply["body"]["code"] == "checksum_differs" and
                 not image(daemon, "bad.iso"), "with another checksum it is not kept", reply)
    reply = put(daemon, "bad.iso", IMAGE, 0)
    points.point(reply["status"] == 409 and reply["body"]["code"] == "upload_gone", "and has to begin anew", reply)


def another_file(points, daemon):
    """Of the same name and size: the two do not become one."""
    other = RANDOM.randbytes(len(IMAGE))
    empty = begin(daemon, "two.iso", IMAGE)
    send(daemon, "two.iso", IMAGE, end=2 * PIECE)
    begun = begin(daemon, "two.iso", other)
    points.point(empty["body"]["received_sha256"] == sha(b"") and begun["body"]["received_bytes"] == 2 * PIECE and
                 begun["body"]["received_sha256"] == sha(IMAGE[:2 * PIECE]) != sha(other[:2 * PIECE]),
                 "what is there is of another file: its checksum says so", begun)
    send(daemon, "two.iso", other, 2 * PIECE)
    glued = [daemon.call("POST", f"{IMAGES}/two.iso/done", {}),
             daemon.call("POST", f"{IMAGES}/two.iso/done", {"sha256": sha(other)})]
    points.point([reply["body"]["code"] for reply in glued] == ["checksum_needed", "checksum_differs"] and
                 not image(daemon, "two.iso"), "who goes on all the same gets no image", glued)
    for known in (True, False):
        begin(daemon, "two.iso", IMAGE)
        send(daemon, "two.iso", IMAGE, end=2 * PIECE)
        if not known:  # the daemon has forgotten it: others came
            for number in range(16):
                begin(daemon, f"more{number}.iso", IMAGE)
        anew = daemon.call("POST", IMAGES, {"name": "two.iso", "size": len(other), "anew": True})
        points.point(anew["body"]["received_bytes"] == 0 and anew["body"]["received_sha256"] == sha(b""),
                     "begun anew nothing of it is there", anew)
        send(daemon, "two.iso", other)
        done = daemon.call("POST", f"{IMAGES}/two.iso/done", {})
        points.point(done["status"] == 201 and done["body"]["sha256"] == sha(other), "and it is the other file", done)
        for name in ["two.iso"] + ([] if known else [f"more{number}.iso" for number in range(16)]):
            daemon.good("DELETE", f"{IMAGES}/{name}")


def restarted(points, folder, daemon, options):
    """Killed in the middle: it goes on from what was durable, and all of it is right."""
    begin(daemon, "long.iso", LONG)
    send(daemon, "long.iso", LONG, end=66 * PIECE)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.process.wait()
    daemon = api.Daemon(folder, *options, pool=False)
    gone = put(daemon, "long.iso", LONG, 66 * PIECE)
    points.point(gone["status"] == 409 and gone["body"]["code"] == "upload_gone",
                 "after kill -9 an upload is begun again", gone)
    begun = begin(daemon, "long.iso", LONG)
    at = begun["body"].get("received_bytes", 0)
    points.point(begun["status"] == 201 and at == 64 * PIECE, "and goes on where it was durable", begun)
    send(daemon, "long.iso", LONG, at)
    points.point(begun["body"]["received_sha256"] == sha(LONG[:at]), "whose checksum it says", begun)
    bare = daemon.call("POST", f"{IMAGES}/long.iso/done", {})
    points.point(bare["status"] == 400 and bare["body"]["code"] == "checksum_needed",
                 "what was gone on with needs the checksum of all of it", bare)
    done = daemon.call("POST", f"{IMAGES}/long.iso/done", {"sha256": sha(LONG)})
    points.point(done["status"] == 201 and done["body"]["sha256"] == sha(LONG), "all of it is right", done)
    begin(daemon, "half.iso", IMAGE)
    put(daemon, "half.iso", IMAGE, 0)
    other = begin(daemon, "half.iso", IMAGE + b"more")
    points.point(other["status"] == 201 and other["body"]["received_bytes"] == 0,
                 "one of another size begins at its beginning", other)
    for name, size, part in (("half.iso", len(IMAGE + b"more"), True), ("long.iso", len(LONG), False)):
        was = image(daemon, name)
        would = daemon.call("DELETE", f"{IMAGES}/{name}?dry_run=1")
        points.point(would["status"] == 200 and would["body"]["after"] == {} and
                     would["body"]["before"]["size_bytes"] == size and
                     would["body"]["before"]["uploading"] == part and image(daemon, name) == was,
                     f"{name} would be gone, and is there", would)
    begun = begin(daemon, "half.iso", IMAGE + b"more")
    points.point(put(daemon, "half.iso", IMAGE + b"more", 0)["status"] == 200,
                 "an upload is gone on with after its end was tried out", begun)
    for name in ("half.iso", "long.iso"):
        reply = daemon.call("DELETE", f"{IMAGES}/{name}")
        points.point(reply["status"] == 200 and not image(daemon, name), f"{name} is deleted", reply)
    reply = [daemon.call("DELETE", f"{IMAGES}/long.iso{query}") for query in ("?dry_run=1", "")]
    points.point(reply[1]["status"] == 404 and reply[0] == reply[1], "once, tried out or not", reply)
    reply = [daemon.call("DELETE", f"{IMAGES}/.x{query}") for query in ("?dry_run=1", "")]
    points.point(reply[1]["status"] == 400 and reply[0] == reply[1], "a name that can not be", reply)
    return daemon


def by_https(points, daemon, front):
    code = re.search(r"^SETUP code=(\S+)", daemon.log(), re.M).group(1)
    client = front.client()
    client.call("POST", f"{V1}/setup", {"code": code, "name": "admin", "password": "a pass phrase"})
    me = client.call("GET", f"{V1}/me").body
    client.csrf = me["csrf"]
    bytes_of = {"Content-Type": "application/octet-stream"}
    client.call("POST", IMAGES, {"name": "web.iso", "size": len(IMAGE)})
    last = None
    for at in range(0, len(IMAGE), PIECE):
        last = client.call("PUT", f"{IMAGES}/web.iso?offset={at}", raw=IMAGE[at:at + PIECE], headers=bytes_of)
    points.point(last.status == 200 and last.body["received_bytes"] == len(IMAGE), "pieces as bytes over HTTPS", last)
    large = client.call("PUT", f"{IMAGES}/web.iso?offset=0", raw=bytes(PIECE + 1), headers=bytes_of)
    points.point(large.status == 413, "one that is too large is refused", large)
    posted = client.call("POST", IMAGES, raw=b"bytes", headers=bytes_of)
    points.point(posted.status == 415, "bytes are for pieces alone", posted)
    csrf, client.csrf = client.csrf, ""
    forged = client.call("PUT", f"{IMAGES}/web.iso?offset=0", raw=b"x", headers=bytes_of)
    client.csrf = csrf
    points.point(forged.status == 403, "and not without the CSRF token", forged)
    nobody = front.client().call("PUT", f"{IMAGES}/web.iso?offset=0", raw=b"x", headers=bytes_of)
    points.point(nobody.status == 401, "nor for who has not signed in", nobody)
    viewer = daemon.good("POST", f"{V1}/tokens", {"name": "looks", "role": "viewer"})["token"]
    looks = front.client(token=viewer)
    points.point(looks.call("GET", IMAGES).status == 200 and
                 looks.call("PUT", f"{IMAGES}/web.iso?offset=0", raw=b"x", headers=bytes_of).status == 403 and
                 looks.call("DELETE", f"{IMAGES}/a.iso").status == 403, "a viewer sees, and changes nothing")
    done = client.call("POST", f"{IMAGES}/web.iso/done", {"sha256": sha(IMAGE)})
    points.point(done.status == 201, "and it is there", done)
    lines = [(one["method"], one["path"]) for one in daemon.good("GET", f"{V1}/audit?limit=1000")]
    points.point(("POST", f"{IMAGES}/web.iso/done") in lines and ("PUT", f"{IMAGES}/web.iso") not in lines,
                 "the audit log has the upload, and not each piece of it")


def by_nfs(points, port):
    url = f"nfs://127.0.0.1/isos/web.iso?version=4&nfsport={port}"
    try:
        read = subprocess.run(["nfs-cat", url], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
    except FileNotFoundError:
        points.note("no nfs-cat: nothing read over NFS")
        return
    points.point(read.returncode == 0 and read.stdout == IMAGE, "a real NFS client reads what was uploaded", read.stderr)


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        state, port = os.path.join(folder, "state"), api.free_port()
        options = ("--nfs-port", str(port))
        daemon = api.Daemon(state, *options)
        front = None
        try:
            library(points, daemon)
            upload(points, daemon)
            wrong(points, daemon)
            another_file(points, daemon)
            daemon = restarted(points, state, daemon, options)
            front = web.Front(state)
            by_https(points, daemon, front)
            by_nfs(points, port)
        finally:
            if front:
                points.point(front.stop() == 0, "the front stops cleanly", front.log())
            points.point(daemon.stop() == 0, "so does the daemon", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)

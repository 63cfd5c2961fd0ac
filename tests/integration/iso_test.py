#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 engines=one asan
"""The images in a share: added from files and from the web, checked, listed, removed; and that of
one that is cut off, too large or not what it has to be nothing stays."""

import hashlib
import http.server
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE = "tank/files"
MEBI = 1 << 20
IMAGE = random.Random(5).randbytes(3 * MEBI) + bytes(20 * MEBI) + b"the end"
SHA = hashlib.sha256(IMAGE).hexdigest()


class Web(http.server.BaseHTTPRequestHandler):
    """What may come from the web."""

    def do_GET(self):  # pylint: disable=invalid-name
        where = self.path.split("?")[0]
        if where == "/moved":
            self.send_response(302)
            self.send_header("Location", "/pool/moved.iso")
        elif where == "/inside":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
        elif where == "/gone.iso":
            self.send_response(404)
        elif where == "/empty.iso":
            self.send_response(204)
        else:
            self.send_response(200)
            if where not in ("/endless.iso", "/slow.iso"):
                extra = 1000 if where == "/cut.iso" else 0
                self.send_header("Content-Length", str(len(IMAGE) + extra))
        self.end_headers()
        try:
            self.send_body(where)
        except OSError:
            pass  # the client has had enough

    def send_body(self, where):
        if where == "/slow.iso":
            for _ in range(600):
                self.wfile.write(bytes(100000))
                time.sleep(0.05)
        elif where == "/endless.iso":
            for _ in range(2000):
                self.wfile.write(bytes(MEBI))
        elif where not in ("/moved", "/inside", "/gone.iso", "/empty.iso"):
            self.wfile.write(IMAGE)

    def log_message(self, *_arguments):  # pylint: disable=arguments-differ
        pass


def iso(server, *words):
    """What it prints, "" and what it says when it failed."""
    result = subprocess.run([os.path.join(daemon.BUILD, "granary"), "--state", server.state, "share",
                             "iso", *words], stdin=subprocess.DEVNULL, capture_output=True,
                            timeout=120, check=False)
    text = result.stderr.decode()
    return (result.stdout.decode() or "done", "") if result.returncode == 0 else ("", text)


def images(server):
    return {image["name"]: image
            for image in json.loads(iso(server, "list", SHARE, "-o", "json")[0])}


def get(path):
    with open(path, "rb") as file:
        return file.read()


def from_files(points, server, work):
    top, path = f"{work}/mnt", f"{work}/debian 12.iso"
    with open(path, "wb") as file:
        file.write(IMAGE)
    said, bad = iso(server, "add", SHARE, path, "--sha256", SHA.upper())
    points.point(SHA in said and get(f"{top}/debian 12.iso") == IMAGE, "a file is added", bad)
    points.point(os.stat(f"{top}/debian 12.iso").st_blocks * 512 < 8 * MEBI
                 and os.getxattr(f"{top}/debian 12.iso", "user.sha256").decode() == SHA,
                 "its zeros take no space, its checksum stays with it")
    points.point("already" in iso(server, "add", SHARE, path)[1], "a second of its name is refused")
    said, bad = iso(server, "add", SHARE, path, "--name", "wrong.iso", "--sha256", "0" * 64)
    points.point(not said and SHA in bad and os.listdir(top) == ["debian 12.iso"],
                 "one that is not what it has to be is not kept", bad)
    for name in ("a/b", ".hidden", "", "x" * 201):
        said, bad = iso(server, "add", SHARE, path, "--name", name)
        points.point(not said and os.listdir(top) == ["debian 12.iso"], f"no image {name[:9]!r}",
                     bad)
    said, bad = iso(server, "add", SHARE, f"{work}/{'y' * 201}")
    points.point("200 bytes" in bad, "nor one whose file's name is too long", said + bad)
    points.point("No such file" in iso(server, "add", SHARE, f"{work}/none")[1], "no such file")
    points.point("no share named" in iso(server, "add", "tank/none", path)[1], "no such share")
    said, bad = iso(server, "add", SHARE, path, "--name", "large", "--max-size", "22M")
    points.point("larger" in bad and len(os.listdir(top)) == 1, "one that is too large", bad)
    seen = images(server)
    points.point(list(seen) == ["debian 12.iso"] and seen["debian 12.iso"]["size"] == len(IMAGE)
                 and seen["debian 12.iso"]["sha256"] == SHA
                 and SHA in iso(server, "list", SHARE)[0], "listed", seen)
    os.mknod(top.encode() + b"/\xff.iso")
    points.point(sorted(images(server)) == ["?.iso", "debian 12.iso"], "also one that is no text")
    os.unlink(top.encode() + b"/\xff.iso")
    iso(server, "remove", SHARE, "debian 12.iso")
    points.point(os.listdir(top) == [] and images(server) == {}
                 and "No such file" in iso(server, "remove", SHARE, "debian 12.iso")[1], "removed")


def from_the_web(points, server, work, url):
    top = f"{work}/mnt"
    said, bad = iso(server, "add", SHARE, url + "/pool/web.iso?mirror=1#x", "--sha256", SHA)
    points.point(SHA in said and get(f"{top}/web.iso") == IMAGE, "from the web, named as there", bad)
    said, bad = iso(server, "add", SHARE, url + "/moved", "--name", "moved.iso")
    points.point(get(f"{top}/moved.iso") == IMAGE if said else False, "where it was moved to", bad)
    for where, why, more in (("/inside", "of this machine's files", ()),
                             ("/gone.iso", "of what is not there", ()),
                             ("/empty.iso", "of an answer without one", ()),
                             ("/cut.iso", "of what is cut off", ()),
                             ("/web2.iso", "of what says it is too large", ("--max-size", "9M")),
                             ("/endless.iso", "of what does not say so", ("--max-size", "9M"))):
        said, bad = iso(server, "add", SHARE, url + where, "--name", "bad.iso", *more)
        points.point(not said and bad and sorted(os.listdir(top)) == ["moved.iso", "web.iso"],
                     f"nothing {why}", f"{said}{bad}{os.listdir(top)}")
    said, bad = iso(server, "add", SHARE, "ftp://127.0.0.1/x.iso")
    points.point(not said, "http and https alone", bad)


def at_once(points, server, work):
    """Two of one name: the unfinished one never has it, and the one that has it is whole."""
    top, adding, files = f"{work}/mnt", [], []
    before = sorted(os.listdir(top))
    for name in ("first", "second"):
        os.mkfifo(f"{work}/{name}")
        adding.append(subprocess.Popen(
            [os.path.join(daemon.BUILD, "granary"), "--state", server.state, "share", "iso", "add",
             SHARE, f"{work}/{name}", "--name", "twice.iso"], stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        files.append(open(f"{work}/{name}", "wb"))  # pylint: disable=consider-using-with
        files[-1].write(IMAGE[:MEBI])  # more than a pipe holds: it has begun
        files[-1].flush()
    files[0].write(IMAGE[MEBI:])
    files[0].close()
    points.point(adding[0].wait(60) != 0
                 and sorted(os.listdir(top)) == sorted([*before, ".twice.iso.part"]),
                 "two of one name: the first has lost its place", os.listdir(top))
    files[1].write(IMAGE[MEBI:])
    files[1].close()
    points.point(adding[1].wait(60) == 0 and get(f"{top}/twice.iso") == IMAGE
                 and sorted(os.listdir(top)) == sorted([*before, "twice.iso"]),
                 "the second is there, whole", os.listdir(top))
    points.point(os.stat(f"{top}/twice.iso").st_nlink == 1, "under one name")
    iso(server, "remove", SHARE, "twice.iso")


def cut_off(points, server, work, url):
    top = f"{work}/mnt"

    def begin():
        process = subprocess.Popen(
            [os.path.join(daemon.BUILD, "granary"), "--state", server.state, "share", "iso", "add",
             SHARE, url + "/slow.iso"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL)
        limit = time.monotonic() + 60
        while ".slow.iso.part" not in os.listdir(top) and time.monotonic() < limit:
            time.sleep(0.05)
        return process

    process = begin()
    points.point(".slow.iso.part" in os.listdir(top) and "slow.iso" not in images(server),
                 "one on its way is not seen")
    process.send_signal(signal.SIGINT)
    process.wait(60)
    points.point(process.returncode != 0 and ".slow.iso.part" not in os.listdir(top),
                 "interrupted: nothing stays", process.returncode)
    process = begin()
    process.kill()
    process.wait(60)
    path = f"{work}/slow.iso"
    with open(path, "wb") as file:
        file.write(IMAGE)
    said, bad = iso(server, "add", SHARE, path)
    points.point(said and get(f"{top}/slow.iso") == IMAGE
                 and ".slow.iso.part" not in os.listdir(top), "killed: the next one clears up", bad)


def layout(points, server, work):
    """Where Proxmox VE looks for them."""
    top = f"{work}/mnt"
    os.makedirs(f"{top}/template/iso")
    said, bad = iso(server, "add", SHARE, f"{work}/slow.iso", "--name", "p.iso")
    points.point(said and get(f"{top}/template/iso/p.iso") == IMAGE
                 and list(images(server)) == ["p.iso"], "template/iso is used where it is", bad)


def presets(points, server, work):
    """Shares as hypervisors want to find them."""
    top = f"{work}/preset"
    os.mkdir(top)
    for name, owner, folders, versions in (
            ("iso", 0, [], 4), ("xenserver", 0, [], 4), ("ovirt", 36, [], 4),
            ("proxmox", 0, ["template", "template/iso"], 4), ("esxi", 0, [], 1)):
        server.granary("share", "create", f"tank/p-{name}", "--preset", name)
        server.granary("share", "mount", f"tank/p-{name}", top)
        shown = json.loads(server.granary("share", "show", f"tank/p-{name}", "-o", "json"))
        root = os.stat(top)
        found = [os.path.relpath(os.path.join(folder, one), top)
                 for folder, inner, _ in os.walk(top) for one in inner]
        points.point((root.st_uid, root.st_gid, root.st_mode & 0o7777) == (owner, owner, 0o755)
                     and found == folders and len(shown["versions"]) == versions,
                     f"preset {name}", f"{root} {found} {shown}")
        server.granary("share", "unmount", top)
    try:
        server.granary("share", "create", "tank/p-none", "--preset", "none")
        refused = ""
    except RuntimeError as error:
        refused = str(error)
    points.point("preset is" in refused and "p-none" not in server.granary("share", "list"),
                 "a preset that is none", refused)


def test(points):
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        raise tap.Skip("needs root and /dev/fuse, to look at what was added")
    web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
    web.daemon_threads = True
    threading.Thread(target=web.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{web.server_address[1]}"
    with tempfile.TemporaryDirectory(prefix="granary-iso-") as work:
        os.mkdir(f"{work}/mnt")
        server = daemon.Server(f"{work}/state")
        try:
            server.granary("share", "mount", SHARE, f"{work}/mnt")
            from_files(points, server, work)
            from_the_web(points, server, work, url)
            at_once(points, server, work)
            cut_off(points, server, work, url)
            layout(points, server, work)
            presets(points, server, work)
            points.point("no errors" in server.granary("share", "check", SHARE), "a clean check")
        finally:
            server.stop()
            web.shutdown()
            limit = time.monotonic() + 60
            while os.path.ismount(f"{work}/mnt") and time.monotonic() < limit:
                time.sleep(0.05)


if __name__ == "__main__":
    tap.run(test)

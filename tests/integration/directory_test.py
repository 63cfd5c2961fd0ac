#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=180 asan
"""Directories of the machine, through the daemon and the command: what is refused, what clients of NFSv3 and
v4 get, handles over a restart, a disk that is not there, what happens to the folder beside the server.
Opening by handle takes CAP_DAC_READ_SEARCH, so it is skipped for whoever is not root."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position
from ports import free_port  # pylint: disable=wrong-import-position

OK, NOENT, NOTDIR, INVAL, ROFS, STALE, BADHANDLE, JUKEBOX = 0, 2, 20, 22, 30, 70, 10001, 10008
ACCES, LATER = 13, 15  # seconds until a directory has been looked at again, three times over
READ_SEARCH = 1 << 2
IMAGE = 3 * (1 << 20) + 777


def said(server, *words):
    """What the command says, or is refused with."""
    try:
        return server.granary(*words)
    except RuntimeError as error:
        return str(error)


def explained(server, client):
    """What explain says; its status is that of the answer."""
    return subprocess.run([os.path.join(daemon.BUILD, "granary"), "--state", server.state, "directory",
                           "explain", "isos", client], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=60, check=False).stdout.decode()


def listed(server):
    return {one["name"]: one for one in json.loads(server.granary("directory", "list", "-o", "json"))}


def until(what, limit=LATER):
    """Is @what() true before long?"""
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.1)
    return what()


def capabilities(server):
    with open(f"/proc/{server.process.pid}/status", encoding="ascii") as file:
        return int(re.search(r"^CapEff:\s*(\w+)", file.read(), re.M).group(1), 16)


class Place:
    """Folders of the test's own, and the daemon that serves one of them."""

    def __init__(self, base):
        self.base = base
        self.below = os.path.join(base, "below")
        self.folder = os.path.join(self.below, "isos")
        self.state = os.path.join(base, "state")
        self.port = free_port()
        self.connections = []
        self.image = None
        os.makedirs(os.path.join(self.folder, "folder"))
        self.data = os.urandom(IMAGE)
        for name, data in (("image.iso", self.data), ("folder/in", b"inside"), ("doomed", b"x")):
            with open(os.path.join(self.folder, name), "wb") as file:
                file.write(data)
        with open(os.path.join(self.folder, "private"), "wb") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write(b"root's")
        os.symlink("/etc/passwd", os.path.join(self.folder, "out"))
        os.mkfifo(os.path.join(self.folder, "fifo"))
        os.mkdir(os.path.join(self.folder, "mounted"))

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def start(self, *more):
        return daemon.Server(self.state, nfs_port=self.port, more=more)

    def client(self, path=b"/isos"):
        """NFSv3 to @path: (its calls, MNT's status, the root's handle)."""
        self.connections.append(rpc.Connection(self.port))
        return rpc.Nfs3(self.connections[-1]), *rpc.mount(self.connections[-1], path)

    def hang_up(self):
        while self.connections:
            self.connections.pop().close()


def without_the_option(t, place):
    server = place.start()
    try:
        text = said(server, "directory", "add", place.folder, "isos")
        t.point("--directories-in" in text and not listed(server),
                "without --directories-in none is exported, and it is said", text)
        t.point(not capabilities(server) & READ_SEARCH, "nor is the capability kept")
    finally:
        t.point(server.stop() == 0, "stops cleanly", server.log()[-4000:])


def refusals(t, place, server):
    os.symlink(place.folder, os.path.join(place.below, "link"))
    os.mkdir(os.path.join(place.base, "beside"))
    os.mkdir(os.path.join(place.below, "held"))
    server.granary("pool", "create", "other", os.path.join(place.below, "held", "disk") + ":256M")
    for path, why in (("/", "whole machine"), ("isos", "absolute"), (place.folder + "/", "plainly"),
                      (place.below + "/../below/isos", "plainly"), (place.below + "/link", "symbolic"),
                      (place.below + "/link/folder", "symbolic"), (place.below + "/absent", "No such"),
                      (place.path("image.iso"), "Not a directory"), (place.path("fifo"), "Not a directory"),
                      (place.base + "/beside", "not in a directory that may be served"),
                      (place.below + "/held", "is in it"), (place.below, "is in it"),
                      ("/etc", "not in a directory"), ("/proc/1", "not in a directory")):
        text = said(server, "directory", "add", path, "new")
        t.point(why in text and not listed(server), f"{path}: refused", text)
    text = said(server, "directory", "add", place.folder, "files")
    t.point("tank/files" in text, "a share's name is refused", text)
    for name in ("../x", "a/b", "", "a b"):
        text = said(server, "directory", "add", place.folder, name)
        t.point("name" in text and not listed(server), f"the name {name!r} is refused", text)
    server.granary("pool", "delete", "other", "--yes")


def made(t, place, server):
    text = server.granary("directory", "add", place.folder, "isos", "--dry-run")
    t.point("isos" in text and not listed(server), "a dry run makes none", text)
    text = server.granary("directory", "add", place.folder, "isos")
    one = listed(server).get("isos", {})
    t.point((one.get("path"), one.get("state"), one.get("versions"))
            == (place.folder, "online", ["3", "4.0", "4.1", "4.2"]), "it is listed", one)
    t.point(place.client()[1] == NOENT, "it is not exported before a rule lets somebody use it")
    for words in ((place.folder, "again"), (place.path("folder"), "isos")):
        text = said(server, "directory", "add", *words)
        t.point("there is a directory" in text, f"{words}: once is enough", text)
    text = said(server, "share", "create", "tank/isos")
    refused = said(server, "share", "allow", "tank/isos", "--client", "127.0.0.1")
    t.point("export of a directory" in refused, "no share is exported by its name", refused)
    server.granary("share", "delete", "tank/isos", "--yes")
    text = server.granary("directory", "allow", "isos", "--client", "127.0.0.1", "--insecure", "--dry-run")
    t.point("127.0.0.1" in text and place.client()[1] == NOENT, "a dry run lets nobody in", text)
    server.granary("directory", "allow", "isos", "--client", "127.0.0.1", "--insecure")
    rules = json.loads(server.granary("directory", "rules", "isos", "-o", "json"))
    t.point([(r["client"], r["read_only"], r["squash"]) for r in rules] == [("127.0.0.1", True, "root")],
            "the rule is read-only, and root is nobody", rules)
    text = explained(server, "127.0.0.1")
    t.point("may use directory isos" in text and "read-only" in text, "explain: who may", text)
    text = explained(server, "10.0.0.1")
    t.point("no rule matches" in text, "explain: who may not", text)
    with rpc.Connection(place.port) as connection:
        reader = connection.good(rpc.MOUNT, 3, 5)
        paths = []
        while reader.bool():
            paths.append(reader.opaque())
            while reader.bool():
                reader.opaque()
    t.point(b"/isos" in paths and b"/files" in paths, "showmount -e has it", paths)


def version_3(t, place):
    v3, status, root = place.client()
    t.point(status == OK, "MOUNT", status)
    image = v3.lookup(root, b"image.iso")
    read = v3.read(image.handle, 1000, 5000)
    t.point((read.eof, read.data) == (False, place.data[1000:6000]), "v3: READ")
    names = {bytes(name) for name in v3.names(root)}
    t.point({b"image.iso", b"folder", b"doomed", b"out", b"fifo"} <= names, "v3: READDIR", names)
    t.point([v3.write(image.handle, 0, b"x").status, v3.create(root, b"new").status,
             v3.mkdir(root, b"new").status, v3.remove(root, b"doomed").status,
             v3.rename(root, b"doomed", root, b"x").status, v3.setattr(image.handle, mode=0).status,
             v3.symlink(root, b"new", b"x").status, v3.link(image.handle, root, b"x").status]
            == [ROFS] * 8, "v3: whatever changes something is ROFS")
    t.point(v3.readlink(v3.lookup(root, b"out").handle).path == b"/etc/passwd",
            "a symbolic link is the client's to follow")
    out = v3.lookup(root, b"out").handle
    t.point(v3.read(out, 0, 100).status == INVAL and v3.lookup(out, b"x").status == NOTDIR,
            "and is not followed here")
    t.point(v3.lookup(root, b"..").handle == root, "nothing is above it")
    t.point(v3.lookup(root, b"folder/in").status in (NOENT, ACCES, INVAL)
            and v3.lookup(root, b"../isos").status in (NOENT, ACCES, INVAL), "a name is no path")
    t.point(v3.read(v3.lookup(root, b"fifo").handle, 0, 10).status == INVAL, "a FIFO is not opened")
    t.point(v3.read(v3.lookup(root, b"private").handle, 0, 10).status == ACCES,
            "root's file is not for the anonymous user")
    return root, image.handle


def version_4(t, place):
    for minor in (1, 2):
        with rpc.Connection(place.port) as connection:
            client = nfs41.Client(connection, b"v4.%d" % minor, minor=minor)
            root = client.walk(b"isos")
            file, state = client.open(root, b"image.iso", access=1)
            t.point(client.read(file, state, 7, 9000)[1] == place.data[7:9007], f"v4.{minor}: READ")
            t.point(client.open(root, b"image.iso", access=3) == ROFS, f"v4.{minor}: OPEN to write is ROFS")
            t.point(client.close(file, state) == OK, f"v4.{minor}: CLOSE")
    if not shutil.which("nfs-cat"):
        t.note("libnfs' programs are not installed")
        return
    done = subprocess.run(["nfs-cat", f"nfs://127.0.0.1/isos/folder/in?version=4&nfsport={place.port}"
                           f"&mountport={place.port}"], capture_output=True, timeout=60,
                          stdin=subprocess.DEVNULL, check=False)
    t.point(done.stdout == b"inside", "v4.0, by libnfs", done)


def hostile(t, place, handle):
    v3, _, root = place.client()
    wrong = 0
    for at in range(len(handle)):
        forged = bytearray(handle)
        forged[at] ^= 0x40
        wrong += v3.getattr(bytes(forged)).status not in (STALE, BADHANDLE)
    t.point(wrong == 0, "no handle with a bit changed is good", wrong)
    t.point(v3.getattr(handle[:-1]).status in (STALE, BADHANDLE) and v3.getattr(root).status == OK,
            "nor a shorter one")


def beside(t, place):
    """Others change the folder."""
    v3, _, root = place.client()
    doomed = v3.lookup(root, b"doomed").handle
    os.rename(place.path("doomed"), place.path("renamed"))
    t.point(v3.read(doomed, 0, 10).data == b"x" and v3.lookup(root, b"doomed").status == NOENT,
            "renamed beside the server: its handle is good")
    os.unlink(place.path("renamed"))
    t.point(v3.read(doomed, 0, 10).status == STALE, "deleted: its handle is stale")
    os.mkdir(place.path("leaving"))
    leaving = v3.lookup(root, b"leaving").handle
    os.rename(place.path("leaving"), os.path.join(place.base, "left"))
    t.point(v3.getattr(leaving).status == STALE, "a folder that was moved out is stale")


def mounts(t, place):
    """Another daemon, for which something else is mounted in the folder."""
    inside = ["unshare", "-m", "sh", "-c", f"mount -t tmpfs none {place.path('mounted')} && "
              f"touch {place.path('mounted', 'secret')} && exec \"$@\"", "sh"]
    if subprocess.run([*inside, "true"], stdin=subprocess.DEVNULL, capture_output=True,
                      check=False).returncode:
        t.note("nothing can be mounted here")
        return
    port = free_port()
    server = daemon.Server(os.path.join(place.base, "second"), nfs_port=port, inside=inside,
                           more=("--directories-in", place.below))
    try:
        server.granary("directory", "add", place.folder, "isos")
        server.granary("directory", "allow", "isos", "--client", "127.0.0.1", "--insecure")
        with rpc.Connection(port) as connection:
            v3, root = rpc.Nfs3(connection), rpc.mount(connection, b"/isos")[1]
            t.point(v3.lookup(root, b"mounted").status == NOENT
                    and b"mounted" not in {bytes(name) for name in v3.names(root)},
                    "where something else is mounted there is nothing")
    finally:
        server.stop()


def away(t, place, root, image):
    """The disk is not mounted when the daemon starts, and is later."""
    gone = place.folder + ".gone"
    os.rename(place.folder, gone)
    server = place.start("--directories-in", place.below)
    try:
        t.point(until(lambda: "No such file" in listed(server)["isos"]["reason"])
                and listed(server)["isos"]["state"] == "unavailable",
                "it starts without a directory, and says which and why", listed(server))
        t.point(place.client(b"/files")[1] in (OK, ACCES), "shares are served meanwhile")
        t.point("not available" in explained(server, "127.0.0.1"),
                "explain says it, too")
        v3, status, _ = place.client()
        t.point(status == NOENT, "there is nothing to mount", status)
        t.point(v3.getattr(root).status == JUKEBOX, "who had it is told to come again")
        unknown = bytearray(root)
        unknown[8:16] = os.urandom(8)
        t.point(v3.getattr(bytes(unknown)).status == STALE, "other handles are stale, not away")
        os.rename(gone, place.folder)
        t.point(until(lambda: listed(server)["isos"]["state"] == "online"), "it comes")
        t.point(v3.read(image, 0, 100).data == place.data[:100], "with the handles of before")
        # its disk goes, or another is mounted there
        os.rename(place.folder, gone)
        t.point(until(lambda: listed(server)["isos"]["state"] == "unavailable")
                and v3.getattr(root).status == JUKEBOX, "it goes while it is served")
        os.mkdir(place.folder)
        with open(place.path("other"), "wb"):
            pass
        t.point(until(lambda: listed(server)["isos"]["state"] == "online")
                and v3.getattr(image).status == STALE, "another one is there: old handles are stale")
        t.point({bytes(name) for name in v3.names(place.client()[2])} >= {b"other"},
                "which is what is served then")
        shutil.rmtree(place.folder)
        os.rename(gone, place.folder)
        t.point(until(lambda: v3.getattr(image).status == OK), "the first one is back, its handles too")
        # a pool's file comes into it
        server.granary("pool", "create", "other", place.path("disk") + ":256M")
        t.point(until(lambda: "is in it" in listed(server)["isos"]["reason"])
                and v3.getattr(image).status == JUKEBOX, "with a pool in it, it is withdrawn")
        server.granary("pool", "delete", "other", "--yes")
        t.point(until(lambda: listed(server)["isos"]["state"] == "online"), "without, it is back")
    finally:
        place.hang_up()
        t.point(server.stop() == 0, "stops cleanly", server.log()[-4000:])


def servers_of(folder):
    """The processes that serve the FUSE file system mounted there."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"granary-mount") and folder.encode() in b" ".join(words):
            found.append(int(pid))
    return found


def silence(t, place, server):
    """A file system that does not answer: who adds a directory on it is told, and nobody else waits."""
    folder = os.path.join(place.below, "hangs")
    os.mkdir(folder)
    if not os.path.exists("/dev/fuse"):
        t.note("there is no /dev/fuse")
        return
    server.granary("share", "mount", "tank/files", folder)
    os.mkdir(os.path.join(folder, "sub"))
    stopped = servers_of(folder)
    try:
        for pid in stopped:
            daemon.pause(pid)
        time.sleep(1.5)  # until the kernel asks for what it knew of it, and waits
        with subprocess.Popen([os.path.join(daemon.BUILD, "granary"), "--state", server.state, "directory",
                               "add", os.path.join(folder, "sub"), "hangs"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as adding:
            waits = until(lambda: "host-dir-look" in threads(server), 5)
            read = place.client()[0].read(place.image, 0, 100).data
            listed(server)
            still = adding.poll() is None
            text = adding.communicate(timeout=60)[1].decode()
        t.point(stopped and waits and still and read == place.data[:100],
                "while one does not answer, all else is served", [stopped, waits, still])
        t.point("does not answer" in text and "hangs" not in listed(server), "it is not made, and why", text)
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        server.granary("share", "unmount", folder, "--lazy")


def threads(server):
    """Names of the daemon's threads."""
    names = []
    for task in os.listdir(f"/proc/{server.process.pid}/task"):
        try:
            with open(f"/proc/{server.process.pid}/task/{task}/comm", encoding="ascii") as file:
                names.append(file.read().strip())
        except OSError:
            pass
    return names


def documents(t, place, server):
    """One document says it all; what it says is made."""
    whole = json.loads(server.granary("export"))
    t.point([d["name"] for d in whole["directories"]] == ["isos"]
            and whole["directories"][0]["rules"][0]["client"] == "127.0.0.1", "export has it",
            whole.get("directories"))
    path = os.path.join(place.base, "document")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"version": 1, "directories": whole["directories"]}, file)
    t.point("nothing to do" in said(server, "apply", path), "nothing to do for what is there")
    server.granary("directory", "set", "isos", "--versions", "4.1")
    t.point(place.client()[1] != OK, "only v4.1: not to be mounted with v3")
    server.granary("directory", "deny", "isos", "--client", "127.0.0.1")
    text = said(server, "diff", path)
    t.point("versions" in text and "allow 127.0.0.1" in text, "diff says what would be done", text)
    server.granary("apply", path)
    t.point(place.client()[1] == OK, "apply does it")
    v3, _, root = place.client()
    server.granary("directory", "remove", "isos", "--dry-run")
    t.point(v3.getattr(root).status == OK, "a dry run removes nothing")
    server.granary("directory", "remove", "isos", "--yes")
    t.point(not listed(server) and v3.getattr(root).status == STALE and os.path.exists(place.path("image.iso")),
            "removed: its handles are stale, its files are there")
    server.granary("apply", path)
    t.point(place.client()[1] == OK and v3.getattr(root).status == STALE,
            "made again by the document, it is another one")
    with open(path, "w", encoding="utf-8") as file:
        json.dump(dict(whole, directories=[]), file)
    text = said(server, "apply", path, "--prune")
    t.point(not listed(server), "pruned", text)


def test(t):
    if os.geteuid() != 0:
        raise tap.Skip("only root opens by handle")
    with tempfile.TemporaryDirectory() as base:
        place = Place(os.path.realpath(base))
        without_the_option(t, place)
        server = place.start("--directories-in", place.below)
        try:
            t.point(capabilities(server) & READ_SEARCH, "with the option the capability is kept")
            refusals(t, place, server)
            made(t, place, server)
            root, image = version_3(t, place)
            version_4(t, place)
            hostile(t, place, image)
            place.image = image
            beside(t, place)
            silence(t, place, server)
            mounts(t, place)
        finally:
            place.hang_up()
            t.point(server.stop() == 0, "stops cleanly", server.log()[-4000:])
        server = place.start("--directories-in", place.below)
        try:
            t.point(until(lambda: listed(server)["isos"]["state"] == "online"), "it is there after a restart")
            v3 = place.client()[0]
            t.point((v3.read(image, 0, 100).data, v3.getattr(root).status) == (place.data[:100], OK),
                    "with the handles that clients have")
        finally:
            place.hang_up()
            t.point(server.stop() == 0, "stops cleanly", server.log()[-4000:])
        server = place.start()
        try:
            t.point(until(lambda: "--directories-in" in listed(server)["isos"]["reason"]),
                    "started without the option, it says what is missing", listed(server))
        finally:
            t.point(server.stop() == 0, "stops cleanly", server.log()[-4000:])
        away(t, place, root, image)
        server = place.start("--directories-in", place.below)
        try:
            t.point(until(lambda: listed(server)["isos"]["state"] == "online"), "and once more")
            documents(t, place, server)
        finally:
            place.hang_up()
            t.point(server.stop() == 0, "stops cleanly", server.log()[-4000:])


if __name__ == "__main__":
    tap.run(test)

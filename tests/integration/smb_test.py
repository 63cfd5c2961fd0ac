#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan waits
"""Shares over SMB, with smbclient: guests and users, reading and writing, what is refused, passwords
that are changed and forgotten; and that smbd ends with the daemon and with granary-smb."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import server as daemon  # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE = "tank/files"
FIRST, SECOND = "correct horse battery", "Grüße und Zeichen"


def wait_for(what, seconds=90):
    limit = time.monotonic() + seconds
    while not (found := what()) and time.monotonic() < limit:
        time.sleep(0.1)
    return found


class Samba:
    """granary-smb beside @server."""

    def __init__(self, server, work):
        self.server, self.work = server, work
        self.port = daemon.free_port()
        self.log = open(f"{work}/smb.log", "ab")  # pylint: disable=consider-using-with
        self.process = None
        self.start()

    def start(self):
        self.process = subprocess.Popen(
            [os.path.join(daemon.BUILD, "granary-smb"), "--state", f"{self.work}/state", "--bind",
             "127.0.0.1", "--port", str(self.port), "--run", f"{self.work}/run"],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
        return self.process.wait()

    def state(self):
        return json.loads(self.server.granary("share", "smb", "list", "-o", "json"))

    def serves(self):
        return self.state()["service"]["running"]

    def listens(self):
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def client(self, commands, user=None, password=""):
        """smbclient's output and whether all went well."""
        who = ["-N"]
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        if user:
            who = ["-U", user]
            environment["PASSWD"] = password
        result = subprocess.run(["smbclient", *who, "-p", str(self.port), "-s", "/dev/null",
                                 "//127.0.0.1/files", "-c", commands], cwd=self.work,
                                env=environment, stdin=subprocess.DEVNULL, capture_output=True,
                                timeout=120, check=False)
        text = result.stdout.decode(errors="replace") + result.stderr.decode(errors="replace")
        return text, result.returncode == 0 and "NT_STATUS" not in text


def mounts(work):
    with open("/proc/self/mountinfo", encoding="utf-8") as file:
        return [line.split()[4] for line in file if f" {work}/run/" in line]


def warned(server, *words):
    """What a command says on stderr."""
    result = subprocess.run([os.path.join(daemon.BUILD, "granary"), "--state", server.state, *words],
                            stdin=subprocess.DEVNULL, capture_output=True, timeout=120, check=False)
    return result.stderr.decode()


def password(work, server, user, text, *more):
    path = f"{work}/password"
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    server.granary("share", "smb", "user", user, "--password-file", path, *more)


def guests(points, server, samba, work):
    top = f"{work}/mnt"
    points.point(not samba.serves() and not samba.listens(), "nothing is served that was not enabled")
    points.point("who may use it" in warned(server, "share", "smb", "enable", SHARE),
                 "a share is not enabled for nobody")
    server.granary("share", "create", "tank/Global")
    said = warned(server, "share", "smb", "enable", "tank/Global", "--guest")
    points.point("no share can be named" in said, "nor one named as a section of smb.conf", said)
    server.granary("share", "delete", "tank/Global", "--yes")
    said = warned(server, "share", "smb", "enable", SHARE, "--guest", "--ro")
    points.point(not said, "read-only for guests: no warning", said)
    points.point(wait_for(samba.serves), "it is served", samba.state())
    text, good = samba.client("ls; get hello fetched")
    points.point(good and "hello" in text and open(f"{work}/fetched", "rb").read() == b"hello\n" * 9,
                 "a guest lists and reads", text)
    text, good = samba.client("put fetched upload")
    points.point(not good and not os.path.exists(f"{top}/upload"), "and does not write", text)
    said = warned(server, "share", "smb", "enable", SHARE, "--guest")
    points.point("locks" in said, "writable over NFS too: a plain warning", said)

    def written():
        return samba.client("put fetched upload")[1]
    points.point(wait_for(written) and open(f"{top}/upload", "rb").read() == b"hello\n" * 9
                 and os.stat(f"{top}/upload").st_uid == 65534, "a guest writes, as nobody")
    text, good = samba.client("mkdir d; cd d; put fetched a; rename a b; ls; del b; cd ..; rmdir d")
    points.point(good and not os.path.exists(f"{top}/d"), "makes, renames and removes", text)


def users(points, server, samba, work):
    top = f"{work}/mnt"
    password(work, server, "alice", FIRST)
    password(work, server, "bob", FIRST, "--uid", "5005", "--gid", "5006")
    points.point("no SMB user" in warned(server, "share", "smb", "enable", SHARE, "--user", "carol"),
                 "a user that is none is refused")
    with open(f"{work}/short", "w", encoding="utf-8") as file:
        file.write("short\n")
    points.point("password" in warned(server, "share", "smb", "user", "dora", "--password-file",
                                      f"{work}/short"), "a short password too")
    points.point("name" in warned(server, "share", "smb", "user", "root", "--password-file",
                                  f"{work}/password"), "root is no SMB user")
    server.granary("share", "smb", "enable", SHARE, "--user", "alice")
    points.point(wait_for(lambda: samba.client("ls", "alice", FIRST)[1]), "a user signs in")
    # Passwords are there a moment before smbd has read who may use the share.
    points.point(wait_for(lambda: not samba.client("ls")[1]), "a guest does not get in any more",
                 samba.client("ls")[0])
    text, good = samba.client("put fetched alices", "alice", FIRST)
    points.point(good and os.stat(f"{top}/alices").st_uid == 70001, "and writes as herself", text)
    text, good = samba.client("ls", "alice", FIRST + "!")
    points.point(not good, "nor a wrong password", text)
    text, good = samba.client("ls", "bob", FIRST)
    points.point(not good, "nor another user", text)
    server.granary("share", "smb", "enable", SHARE, "--user", "alice,bob")
    points.point(wait_for(lambda: samba.client("put fetched bobs", "bob", FIRST)[1])
                 and (os.stat(f"{top}/bobs").st_uid, os.stat(f"{top}/bobs").st_gid) == (5005, 5006),
                 "until he may, with the ids he was given")
    password(work, server, "alice", SECOND)
    points.point(wait_for(lambda: samba.client("ls", "alice", SECOND)[1])
                 and not samba.client("ls", "alice", FIRST)[1], "a new password, the old one is dead")
    password(work, server, "bob", FIRST)
    shown = server.granary("share", "smb", "list", "-o", "json")
    points.point([(user["uid"], user["gid"]) for user in json.loads(shown)["users"]]
                 == [(70001, 70001), (5005, 5006)], "who keep their ids", shown)
    names = [user["name"] for user in json.loads(shown)["users"]]
    points.point(names == ["alice", "bob"] and "hash" not in shown, "users are shown, no more", shown)
    server.granary("share", "smb", "forget", "alice")
    points.point(wait_for(lambda: not samba.client("ls", "alice", SECOND)[1])
                 and samba.client("ls", "bob", FIRST)[1], "a forgotten user is out, others stay")
    server.granary("share", "smb", "forget", "bob")
    points.point(wait_for(lambda: not samba.listens()),
                 "without its last user a share is not opened to all")


def ends(points, server, samba, work):
    server.granary("share", "smb", "enable", SHARE, "--guest", "--ro")
    points.point(wait_for(lambda: samba.serves() and samba.listens()), "served again")
    top = f"{work}/mnt"
    status = server.stop()
    points.point(status == 0 and wait_for(lambda: not samba.listens()) and not mounts(work),
                 "it ends with the daemon", mounts(work))
    server = daemon.Server(f"{work}/state")
    samba.server = server
    server.granary("share", "mount", SHARE, top)
    points.point(wait_for(samba.serves) and samba.client("ls")[1], "and comes back with it")
    samba.stop(signal.SIGKILL)
    points.point(wait_for(lambda: not samba.listens() and not mounts(work)),
                 "granary-smb killed: smbd and its mounts end", mounts(work))
    samba.start()
    points.point(wait_for(lambda: samba.listens() and samba.client("ls")[1]), "started again")
    points.point(samba.stop() == 0 and not samba.listens() and not mounts(work),
                 "stopped, nothing is left", mounts(work))
    points.point(wait_for(lambda: "does not run" in samba.state()["service"]["reason"])
                 and not samba.serves(), "and that is told", samba.state())
    server.granary("share", "smb", "disable", SHARE)
    points.point(samba.state()["shares"] == [], "disabled")
    return server


def test(points):
    if os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        raise tap.Skip("needs root and /dev/fuse")
    if not os.path.exists("/usr/sbin/smbd") or not shutil.which("smbclient"):
        raise tap.Skip("needs samba and smbclient")
    with tempfile.TemporaryDirectory(prefix="granary-smb-") as work:
        os.chmod(work, 0o755)
        top = f"{work}/mnt"
        os.mkdir(top)
        server = daemon.Server(f"{work}/state")
        samba = Samba(server, work)
        try:
            server.granary("share", "mount", SHARE, top)
            os.chmod(top, 0o777)
            with open(f"{top}/hello", "wb") as file:
                file.write(b"hello\n" * 9)
            guests(points, server, samba, work)
            users(points, server, samba, work)
            server = ends(points, server, samba, work)
        finally:
            samba.stop()
            server.stop()
            wait_for(lambda: not os.path.ismount(top))


if __name__ == "__main__":
    tap.run(test)

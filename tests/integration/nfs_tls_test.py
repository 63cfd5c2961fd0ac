#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""NFS over TLS as an administrator sees it: the daemon's own certificate, another one, whose
certificates are believed, rules that ask for TLS and what explain says of them, the configuration
document, kill -9, and files of the state directory that are damaged."""

import json
import os
import re
import ssl
import stat
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc  # pylint: disable=wrong-import-position
import server as daemon  # pylint: disable=wrong-import-position
from nfs4_locks_test import case   # pylint: disable=wrong-import-position
from nfs41_wire_test import expect   # pylint: disable=wrong-import-position
from tls_client import context, make_certificates, offer, secure   # pylint: disable=wrong-import-position
import tap               # pylint: disable=wrong-import-position

SHARE, ACCES, ROFS = "tank/files", 13, 30


class Suite:
    def __init__(self, top):
        self.folder, self.state = os.path.join(top, "certificates"), os.path.join(top, "state")
        os.mkdir(self.folder)
        make_certificates(self.folder)
        self.server = daemon.Server(self.state)
        self.server.granary("share", "deny", SHARE, "--client", "127.0.0.1")

    def path(self, name):
        return os.path.join(self.folder, name)

    def connect(self):
        port = int(re.search(r"^READY .*nfs=(\d+)", self.server.log(), re.M).group(1))
        return rpc.Connection(port)

    def tls(self, certificate=None, authority="own.pem"):
        return secure(self.connect(), context(self.folder, certificate, authority=authority))

    def granary(self, *words):
        return self.server.granary(*words)

    def refused(self, *words):
        try:
            self.granary(*words)
        except RuntimeError as error:
            return str(error)
        return ""

    def shown(self):
        return json.loads(self.granary("share", "tls", "show", "-o", "json"))

    def take_own(self):
        """What the server shows, as a client is given it."""
        with open(os.path.join(self.state, "nfs-tls.pem"), encoding="ascii") as file:
            pair = file.read()
        with open(self.path("own.pem"), "w", encoding="ascii") as file:
            file.write(pair[pair.index("-----BEGIN CERTIFICATE"):])

    def explain(self, client):
        done = subprocess.run([os.path.join(daemon.BUILD, "granary"), "--state", self.state,
                               "share", "explain", SHARE, client, "-o", "json"], timeout=60,
                              stdin=subprocess.DEVNULL, capture_output=True)
        return done.returncode, json.loads(done.stdout)

    def mounts(self, connection):
        with connection as c:
            return rpc.mount(c, "/files")[0]

    # ---- in this order

    def own(self):
        """The first start makes a pair that clients can check."""
        expect(stat.S_IMODE(os.stat(os.path.join(self.state, "nfs-tls.pem")).st_mode), 0o600, "mode")
        self.take_own()
        one = self.shown()
        expect(one["clients"], [], "nobody is believed")
        expect(one["certificate"]["self_signed"], True, "signed by itself")
        expect({"localhost", "127.0.0.1"} <= set(one["certificate"]["names"]), True, "names")
        expect("PRIVATE" in json.dumps(one), False, "the key is not shown")
        with self.tls() as c:
            c.good(rpc.NFS, 4, 0).end()

    def rules(self):
        self.granary("share", "allow", SHARE, "--client", "127.0.0.0/8", "--insecure", "--sec",
                     "tls", "--no-root-squash")
        expect(self.mounts(self.connect()), ACCES, "in clear")
        expect(self.mounts(self.tls()), 0, "in TLS")
        rules = json.loads(self.granary("share", "rules", SHARE, "-o", "json"))
        expect([rule["security"] for rule in rules], ["tls"], "rules")
        expect("is for connections in TLS" in self.server.log(), True, "the log says why")
        code, said = self.explain("127.0.0.1")
        expect((code, said["allowed"], said["security"]), (0, True, "tls"), "explain")
        expect("only over TLS (mount -o xprtsec=tls)" in said["reason"], True, said["reason"])
        expect("security is any" in self.refused("share", "allow", SHARE, "--client", "*", "--sec",
                                                 "ssl"), True, "a word that is none")
        for bad in ("cert:", "cert:two words"):
            expect("no client" in self.refused("share", "allow", SHARE, "--client", bad), True, bad)

    def believed(self):
        self.granary("share", "allow", SHARE, "--client", "cert:laptop.example", "--insecure",
                     "--all-squash", "--anon-uid", "1007")
        code, said = self.explain("cert:Laptop.Example")
        expect((code, said["security"]), (0, "mtls"), "explain by certificate")
        expect("nobody's certificate is believed yet" in said["reason"], True, said["reason"])
        code, said = self.explain("10.0.0.1")
        expect(code, 1, "nobody's address")
        expect("a rule for a certificate (cert:laptop.example)" in said["reason"], True,
               said["reason"])
        expect(self.explain("cert:other")[0], 1, "another name")
        # Nobody asks for it yet, so the address decides.
        with self.tls("laptop.pem") as c:
            handle = rpc.mount(c, "/files")[1]
            expect(rpc.Nfs3(c).setattr(handle, mode=0o777).status, 0, "root of the address")
        self.granary("share", "tls", "set", "--clients-file", self.path("ca.pem"))
        expect([one["subject"] for one in self.shown()["clients"]], ["CN=test CA"], "shown")
        expect("believed yet" in self.explain("cert:laptop.example")[1]["reason"], False, "explain")
        with self.tls("laptop.pem") as c:
            handle = rpc.mount(c, "/files")[1]
            made = rpc.Nfs3(c, rpc.auth_sys(5, 6)).mkdir(handle, "of the laptop")
            expect((made.status, made.attr.uid), (0, 1007), "who the certificate is")
        self.granary("share", "allow", SHARE, "--client", "127.0.0.0/8", "--insecure", "--sec",
                     "mtls")
        expect((self.mounts(self.tls()), self.mounts(self.tls("desk.pem"))), (ACCES, 0), "mtls")

    def bad_ones(self):
        before = self.shown()
        server = self.path("server.pem")
        for words, why in (
                ((), "say what"),
                (("--chain-file", server), "a chain and its key"),
                (("--key-file", server), "a chain and its key"),
                (("--chain-file", server, "--key-file", server, "--renew"), "a chain and its key"),
                (("--chain-file", server, "--key-file", self.path("laptop.pem")),
                 "not that of the first"),
                (("--chain-file", "/dev/null", "--key-file", server), "chain"),
                (("--clients-file", "/etc/hostname"), "1 to 64 certificates"),
                (("--clients-file", self.path("nothing")), "No such file"),
                (("--chain-file", self.path("old.pem"), "--key-file", self.path("old.pem")),
                 "expired")):
            said = self.refused("share", "tls", "set", *words)
            expect(why in said, True, f"{words}: {said}")
        with open(self.path("half"), "w", encoding="ascii") as file, \
                open(self.path("ca.pem"), encoding="ascii") as whole:
            pem = whole.read()
            file.write(pem + pem[pem.index("-----BEGIN CERT"):][:200])
        expect("each whole" in self.refused("share", "tls", "set", "--clients-file",
                                            self.path("half")), True, "half a certificate")
        expect(self.shown(), before, "nothing has changed")
        expect(self.mounts(self.tls("laptop.pem")), 0, "nor for clients")

    def another(self):
        """A pair of one's own CA, one made anew, and back over kill -9."""
        server = self.path("server.pem")
        self.granary("share", "tls", "set", "--chain-file", server, "--key-file", server)
        expect(self.mounts(self.tls("laptop.pem", "server.pem")), 0, "the pair that was given")
        try:
            self.tls()
            raise AssertionError("the old pair")
        except ssl.SSLError:
            pass
        first = self.shown()["certificate"]["fingerprint_sha256"]
        self.granary("share", "tls", "set", "--renew")
        self.take_own()
        expect(self.shown()["certificate"]["fingerprint_sha256"] != first, True, "a new one")
        self.tls("laptop.pem").close()

    def unreadable(self):
        """Whom it believes is not forgotten since it can not be read at the moment."""
        path = os.path.join(self.state, "nfs-tls-clients.pem")
        os.rename(path, path + ".away")
        os.symlink(path + ".away", path)   # which is not followed
        try:
            said = self.refused("share", "tls", "set", "--renew")
            self.restart()
            log = self.server.log()
        finally:
            os.unlink(path)
            os.rename(path + ".away", path)
        expect("nfs-tls-clients.pem can not be read" in said, True, f"refused: {said}")
        expect(re.search("not offered: nfs-tls-clients.pem can not be read: .*symbolic", log) is
               not None, True, f"the log says why: {log}")
        self.restart()
        expect([one["subject"] for one in self.shown()["clients"]], ["CN=test CA"], "believed")
        expect(self.mounts(self.tls("laptop.pem")), 0, "nothing has changed")

    def restart(self):
        self.server.process.kill()
        self.server.process.wait()
        self.server = daemon.Server(self.state)

    def kept(self):
        rules, shown = self.granary("share", "rules", SHARE, "-o", "json"), self.shown()
        self.restart()
        expect(self.shown(), shown, "certificates")
        expect(json.loads(self.granary("share", "rules", SHARE, "-o", "json")), json.loads(rules),
               "rules")
        expect((self.mounts(self.connect()), self.mounts(self.tls("laptop.pem"))), (ACCES, 0),
               "and what they do")

    def document(self):
        """The configuration document has what a rule asks, and brings it back."""
        document = self.path("document")
        with open(document, "w", encoding="utf-8") as file:
            file.write(self.granary("export"))
        self.granary("share", "allow", SHARE, "--client", "127.0.0.0/8", "--insecure")
        expect(self.mounts(self.connect()), 0, "it asks for nothing")
        self.granary("apply", document, "--yes")
        expect(self.mounts(self.connect()), ACCES, "it asks again")

    def damaged(self):
        """What can not be read is told, stops nothing else, and is put right while it runs."""
        self.server.stop()
        with open(os.path.join(self.state, "nfs-tls.pem"), "w", encoding="ascii") as file:
            file.write("no certificate\n")
        self.server = daemon.Server(self.state)
        expect("NFS over TLS is not offered" in self.server.log(), True, "the log")
        with self.connect() as c:
            expect(offer(c), False, "not offered")
        expect("the server has no certificate" in self.explain("127.0.0.1")[1]["reason"], True,
               "explain")
        expect("there is no certificate" in self.refused("share", "tls", "show"), True, "show")
        self.granary("share", "tls", "set", "--renew")
        self.take_own()
        expect(self.mounts(self.tls("laptop.pem")), 0, "put right")
        self.granary("share", "tls", "set", "--no-clients")
        expect(self.shown()["clients"], [], "nobody is believed")
        expect(self.mounts(self.tls("laptop.pem")), ACCES, "nobody is asked")


CASES = ("own", "rules", "believed", "bad_ones", "another", "unreadable", "kept", "document",
         "damaged")


def test(t):
    with tempfile.TemporaryDirectory(prefix="granary-nfs-tls-") as top:
        suite = Suite(top)
        try:
            for name in CASES:
                case(t, name, getattr(suite, name))
        finally:
            status = suite.server.stop()
        t.point(status == 0, "the daemon ends cleanly", suite.server.log())


if __name__ == "__main__":
    tap.run(test)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=60 asan
"""Which operation of NFSv4 gives which error: every operation on every kind of object, without a
filehandle, with names that are none, without the right, on a share that is read only and with
stateids that are nobody's, for v4.0 (RFC 7530 13), v4.1 (RFC 8881 15) and v4.2 (RFC 7862 11)."""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import rpc_client as rpc   # pylint: disable=wrong-import-position
from rpc_client import u32, u64, opaque, auth_sys   # pylint: disable=wrong-import-position
from nfs41_wire_test import (  # pylint: disable=wrong-import-position
    Client, attrs, bitmap, compound, create_session, exchange_id, expect, lookup, open_file, putfh,
    GETFH, PUTROOTFH, SAVEFH, RESTORE, UNCHECKED, ZERO)
from nfs4_locks_test import Old, case, lock_op, lockt_op, locku_op   # pylint: disable=wrong-import-position
import tap                 # pylint: disable=wrong-import-position

OK, PERM, NOENT, NXIO, ACCESS, EXIST, XDEV, NOTDIR, ISDIR, INVAL = (
    0, 1, 2, 6, 13, 17, 18, 20, 21, 22)
FBIG, ROFS, NAMETOOLONG, NOTEMPTY, BADHANDLE = 27, 30, 63, 66, 10001
BAD_COOKIE, NOTSUPP, TOOSMALL, BADTYPE = 10003, 10004, 10005, 10007
CLID_INUSE, RESOURCE, NOFILEHANDLE, STALE_CLIENTID = 10017, 10018, 10020, 10022
STALE_STATEID, BAD_STATEID, SYMLINK, RESTOREFH, BADNAME = 10023, 10025, 10029, 10030, 10041
ATTRNOTSUPP, NOT_SAME, SAME = 10032, 10027, 10009
BADXDR, BADOWNER, OP_ILLEGAL, RETRY_UNCACHED_REP = 10036, 10039, 10044, 10068
NOT_ONLY_OP, WRONG_TYPE = 10081, 10083
KINDS = ("directory", "file", "link", "fifo", "above")
FORGED = u32(1) + b"forged state"


def create_op(kind=2, name="made", what=b"", values=attrs(0o755)):
    return u32(6, kind) + what + opaque(name) + values


def read_op(stateid=ZERO):
    return u32(25) + stateid + u64(0) + u32(4)


def write_op(stateid=ZERO):
    return u32(38) + stateid + u64(0) + u32(2) + opaque(b"text")


def readdir_op(most=4096, wanted=bitmap(20), cookie=0):
    return u32(26) + u64(cookie) + bytes(8) + u32(1000, most) + wanted


def size_op(stateid=ZERO):
    return u32(34) + stateid + attrs(size=3)


def space_op(number, stateid=ZERO):
    return u32(number) + stateid + u64(0, 4096)


def other(minor):
    """What is neither file nor directory."""
    return (SYMLINK, WRONG_TYPE) if minor else (INVAL, INVAL)


# Each operation on a directory, a file, a symlink, a fifo and the root above the exports. Two
# statuses: the first one is v4.0's.
def by_kind(minor):
    link, fifo = other(minor)
    no_link = WRONG_TYPE if minor else INVAL
    in_directory = (NOTDIR, (SYMLINK, NOTDIR), NOTDIR)
    table = {
        "ACCESS": (u32(3, 1), OK, OK, OK, OK, OK),
        "COMMIT": (u32(5) + u64(0) + u32(0), ISDIR, OK, link, fifo, ROFS),
        "CREATE": (create_op(), EXIST, *in_directory, ROFS),
        "GETATTR": (u32(9) + bitmap(1, 4), OK, OK, OK, OK, OK),
        "GETFH": (GETFH, OK, OK, OK, OK, OK),
        "LOOKUP": (lookup("x"), NOENT, NOTDIR, SYMLINK, NOTDIR, NOENT),
        "LOOKUPP": (u32(16), OK, NOTDIR, SYMLINK if minor else NOTDIR, NOTDIR, NOENT),
        "NVERIFY": (u32(17) + bitmap(1) + opaque(u32(9)), OK, OK, OK, OK, OK),
        "READ": (read_op(), ISDIR, OK, link, fifo, ISDIR),
        "READDIR": (readdir_op(), OK, NOTDIR, NOTDIR, NOTDIR, OK),
        "READLINK": (u32(27), no_link, no_link, OK, no_link, no_link),
        "REMOVE": (u32(28) + opaque("x"), NOENT, *in_directory, ROFS),
        "SECINFO": (u32(33) + opaque("x"), NOENT, *in_directory, NOENT),
        "SETATTR of the size": (size_op(), ISDIR, OK, link, fifo, ROFS),
        "VERIFY": (u32(37) + bitmap(1) + opaque(u32(9)),) + (NOT_SAME,) * 5,
        "WRITE": (write_op(), ISDIR, OK, link, fifo, ROFS),
    }
    if minor == 2:
        table.update({
            "ALLOCATE": (space_op(59), ISDIR, OK, link, fifo, (ROFS, ISDIR)),
            "DEALLOCATE": (space_op(62), ISDIR, OK, link, fifo, (ROFS, ISDIR)),
            "SEEK": (u32(69) + ZERO + u64(0) + u32(0), ISDIR, NXIO, link, fifo, ISDIR),
            "READ_PLUS": (u32(68) + ZERO + u64(0) + u32(4), ISDIR, OK, link, fifo, ISDIR),
            "GETXATTR": (u32(72) + opaque("x"),) + (10095,) * 5,
            "LISTXATTRS": (u32(74) + u64(0) + u32(4096), OK, OK, OK, OK, OK),
        })
    return table


# Operations on a name in the current directory: (how it is made, what a name that is not there
# gives).
BY_NAME = {
    "CREATE": lambda name: create_op(name=name),
    "LINK": lambda name: u32(11) + opaque(name),
    "LOOKUP": lookup,
    "OPEN": lambda name: open_file(name, how=UNCHECKED),
    "REMOVE": lambda name: u32(28) + opaque(name),
    "RENAME to": lambda name: u32(29) + opaque("x") + opaque(name),
    "RENAME from": lambda name: u32(29) + opaque(name) + opaque("x"),
    "SECINFO": lambda name: u32(33) + opaque(name),
}
NAMES = (("", INVAL), ("n" * 256, NAMETOOLONG), ("a/b", BADNAME), (".", BADNAME), ("..", BADNAME),
         ("a\0b", BADNAME))


class Suite:
    def __init__(self, server):
        self.server = server
        self.c = server.connect()
        self.clients = [Old(self.c, b"errors of 4.0")] + [
            Client(self.c, b"errors of 4.%d" % minor, minor=minor) for minor in (1, 2)]
        self.a = self.clients[1]
        self.root = self.a.walk("files")
        self.handles = {"above": self.a.walk()}
        for name, op in (("directory", create_op(name="directory")),
                         ("link", create_op(5, "link", opaque("to"), attrs())),
                         ("fifo", create_op(7, "fifo", values=attrs(0o644))),
                         ("empty", create_op(name="empty"))):
            expect(self.a.ops(putfh(self.root), op).status, OK, name)
            self.handles[name] = self.a.walk("files", name)
        expect(self.a.ops(putfh(self.handles["directory"]), create_op()).status, OK, "made")
        self.handles["file"], state = self.a.open(self.root, "file", how=UNCHECKED)
        self.a.close(self.handles["file"], state)

    def status(self, minor, *ops, cred=None):
        """Of the compound, by a client of that minor version."""
        client = self.clients[minor]
        if minor == 0:
            return compound(self.c, list(ops), minor=0, cred=cred).status
        client.sequence += 1
        return compound(self.c, [client.sequence_op(client.sequence), *ops], minor,
                        cred=cred).status

    @staticmethod
    def check(wrong, got, wanted, what):
        if got not in (wanted if isinstance(wanted, tuple) else (wanted,)):
            wrong.append(f"{what}: {got}, not {wanted}")

    def kinds(self):
        wrong = []
        for minor in (0, 1, 2):
            for name, (op, *statuses) in by_kind(minor).items():
                for kind, wanted in zip(KINDS, statuses):
                    self.check(wrong, self.status(minor, putfh(self.handles[kind]), op), wanted,
                               f"4.{minor} {name} of {kind}")
        assert not wrong, "; ".join(wrong)

    def meaning(self):
        """ACCESS says nothing of a right that means nothing to the object."""
        wrong = []
        for minor in (0, 1, 2):
            for kind, wanted in zip(KINDS, (0x1F, 0x2D, 0x2D, 0x2D, 0x1F)):
                for asked in (0x3F, 0x32, 0):
                    result = self.clients[minor].ops(putfh(self.handles[kind]), u32(3, asked))
                    result.good(22)
                    r = result.good(3)
                    looked, granted = r.u32(), r.u32()
                    self.check(wrong, (looked, granted & ~looked), ((wanted & asked, 0),),
                               f"4.{minor} ACCESS {asked:#x} of {kind}")
        assert not wrong, "; ".join(wrong)

    def no_filehandle(self):
        wrong = []
        for minor in (0, 1, 2):
            ops = [(name, op) for name, (op, *_) in by_kind(minor).items()]
            ops += [(name, make("x")) for name, make in BY_NAME.items() if minor or name != "OPEN"]
            ops += [("SAVEFH", SAVEFH), ("LOCKT", lockt_op(1, 0, 1, b"o"))]
            if minor:
                ops += [("CLOSE", u32(4, 0) + ZERO), ("LOCK", lock_op(1, 0, 1, ZERO, b"o")),
                        ("LOCKU", locku_op(0, 1, ZERO)), ("SECINFO_NO_NAME", u32(52, 0)),
                        ("OPEN_DOWNGRADE", u32(21) + ZERO + u32(0, 1, 0))]
            if minor == 2:
                ops += [("COPY", u32(60) + ZERO + ZERO + u64(0, 0, 1) + u32(1, 1, 0)),
                        ("CLONE", u32(71) + ZERO + ZERO + u64(0, 0, 4096)),
                        ("IO_ADVISE", u32(63) + ZERO + u64(0, 1) + bitmap(0)),
                        ("SETXATTR", u32(73, 0) + opaque("x") + opaque("y")),
                        ("REMOVEXATTR", u32(75) + opaque("x"))]
            for name, op in ops:
                self.check(wrong, self.status(minor, op), NOFILEHANDLE, f"4.{minor} {name}")
            self.check(wrong, self.status(minor, RESTORE), RESTOREFH, f"4.{minor} RESTOREFH")
            for name in ("LINK", "RENAME to"):
                self.check(wrong, self.status(minor, putfh(self.root), BY_NAME[name]("x")),
                           NOFILEHANDLE, f"4.{minor} {name} without a saved one")
        assert not wrong, "; ".join(wrong)

    def names(self):
        wrong, here = [], putfh(self.root)
        for minor in (0, 1, 2):
            for what, make in BY_NAME.items():
                if what == "OPEN" and minor == 0:
                    continue  # its turn is the owner's: below
                for name, wanted in NAMES:
                    self.check(wrong, self.status(minor, here, SAVEFH, here, make(name)), wanted,
                               f"4.{minor} {what} {name[:4]!r}")
        old = self.clients[0]
        for name, wanted in NAMES:
            old.seqid += 1
            self.check(wrong, old.raw_open(self.root, name, old.seqid).status, wanted,
                       f"4.0 OPEN {name[:4]!r}")
        assert not wrong, "; ".join(wrong)

    def rights(self):
        """A stranger in a directory and with a file that are the superuser's own."""
        wrong, stranger = [], auth_sys(1000, 1000)
        self.a.ops(putfh(self.root), create_op(name="private", values=attrs(0o700)))
        directory = self.a.walk("files", "private")
        file, state = self.a.open(directory, "file", how=u32(0) + attrs(0o600))
        self.a.close(file, state)
        for minor in (0, 1, 2):
            inside = {"LOOKUP": lookup("file"), "CREATE": create_op(), "READDIR": readdir_op(),
                      "REMOVE": u32(28) + opaque("file"), "SECINFO": u32(33) + opaque("file")}
            on_file = {"READ": read_op(), "WRITE": write_op(), "SETATTR of the size": size_op()}
            if minor == 2:
                on_file.update({
                    "ALLOCATE": space_op(59), "DEALLOCATE": space_op(62),
                    "READ_PLUS": u32(68) + ZERO + u64(0) + u32(4),
                    "SEEK": u32(69) + ZERO + u64(0) + u32(0),
                    "GETXATTR": u32(72) + opaque("x"),
                    "SETXATTR": u32(73, 0) + opaque("x") + opaque("y")})
            for handle, table in ((directory, inside), (file, on_file)):
                for name, op in table.items():
                    self.check(wrong, self.status(minor, putfh(handle), op, cred=stranger), ACCESS,
                               f"4.{minor} {name}")
            two = putfh(directory), SAVEFH, putfh(self.root)
            back = putfh(self.root), SAVEFH, putfh(directory)
            self.check(wrong, self.status(minor, *two, u32(29) + opaque("file") + opaque("x"),
                                          cred=stranger), ACCESS, f"4.{minor} RENAME out of it")
            self.check(wrong, self.status(minor, putfh(file), SAVEFH, putfh(directory),
                                          u32(11) + opaque("x"), cred=stranger), ACCESS,
                       f"4.{minor} LINK into it")
            self.check(wrong, self.status(minor, *back, u32(29) + opaque("file") + opaque("x"),
                                          cred=stranger), ACCESS, f"4.{minor} RENAME into it")
            self.check(wrong, self.status(minor, putfh(file), u32(34) + ZERO + attrs(0o777),
                                          cred=stranger), PERM, f"4.{minor} SETATTR of the mode")
        user = Client(self.c, b"a stranger", stranger)
        for access in (1, 2, 3):
            self.check(wrong, user.ops(putfh(file), open_file("", access=access, claim=4)).status,
                       ACCESS, f"OPEN, access {access}")
        self.check(wrong, user.open(directory, "file"), ACCESS, "OPEN in the directory")
        assert not wrong, "; ".join(wrong)

    def others_stateids(self):
        """What somebody has open he may go on with, whatever becomes of the mode; another one who
        shows his stateid has no more rights than without it."""
        wrong, somebody, stranger = [], auth_sys(1000, 1000), auth_sys(1001, 1001)
        self.a.ops(putfh(self.root), create_op(name="shared", values=attrs(0o777)))
        directory = self.a.walk("files", "shared")
        old = Old(self.c, b"whose stateid")
        for minor in (0, 1, 2):
            name = f"of 4.{minor}"
            if minor:
                handle, state = self.clients[minor].open(directory, name, how=UNCHECKED)
            else:
                handle, state = old.open(directory, name)
            mine = bitmap(33, 36) + opaque(u32(0o600) + opaque("1000"))
            self.check(wrong, self.status(minor, putfh(handle), u32(34) + ZERO + mine), OK, name)
            for what, op in (("READ", read_op(state)), ("WRITE", write_op(state)),
                             ("SETATTR", size_op(state))):
                for who, cred, wanted in (("its owner", somebody, OK), ("others", stranger, ACCESS),
                                          ("who has it open", None, OK)):
                    self.check(wrong, self.status(minor, putfh(handle), op, cred=cred), wanted,
                               f"4.{minor} {what} by {who}")
            user = (Old(self.c, b"a user's", cred=somebody) if minor == 0 else
                    Client(self.c, b"a user's 4.%d" % minor, somebody, minor=minor))
            opened = user.open(directory, name)
            none = putfh(handle), u32(34) + ZERO + bitmap(33, 36) + opaque(
                u32(0) + opaque("1001"))
            self.check(wrong, self.status(minor, *none), OK, f"4.{minor} taken from him")
            self.check(wrong, user.ops(putfh(handle), write_op(opened[1])).status, OK,
                       f"4.{minor} WRITE by who had it open before")
        assert not wrong, "; ".join(wrong)

    def read_only(self):
        wrong, here = [], self.a.walk("ro")
        for minor in (0, 1, 2):
            ops = {"CREATE": create_op(), "REMOVE": u32(28) + opaque("x"), "WRITE": write_op(),
                   "RENAME": u32(29) + opaque("x") + opaque("y"), "LINK": u32(11) + opaque("x"),
                   "SETATTR": u32(34) + ZERO + attrs(0o700)}
            if minor:
                ops["OPEN to create"] = open_file("x", how=UNCHECKED)
                ops["OPEN to write"] = open_file("x", access=2)
            if minor == 2:
                ops.update({"ALLOCATE": space_op(59), "DEALLOCATE": space_op(62),
                            "COPY": u32(60) + ZERO + ZERO + u64(0, 0, 1) + u32(1, 1, 0),
                            "CLONE": u32(71) + ZERO + ZERO + u64(0, 0, 4096),
                            "SETXATTR": u32(73, 0) + opaque("x") + opaque("y"),
                            "REMOVEXATTR": u32(75) + opaque("x")})
            for name, op in ops.items():
                self.check(wrong, self.status(minor, putfh(here), SAVEFH, putfh(here), op), ROFS,
                           f"4.{minor} {name}")
        assert not wrong, "; ".join(wrong)

    def stateids(self):
        wrong, here = [], putfh(self.handles["file"])
        for minor in (0, 1, 2):
            ops = {"READ": read_op(FORGED), "WRITE": write_op(FORGED), "SETATTR": size_op(FORGED),
                   "CLOSE": u32(4, 0) + FORGED, "LOCK": lock_op(1, 0, 1, FORGED, b"o"),
                   "LOCK again": lock_op(1, 0, 1, FORGED), "LOCKU": locku_op(0, 1, FORGED),
                   "OPEN_DOWNGRADE": u32(21) + FORGED + u32(0, 1, 0)}
            if minor == 0:
                ops["OPEN_CONFIRM"] = u32(20) + FORGED + u32(1)
            else:
                ops["FREE_STATEID"] = u32(45) + FORGED
            if minor == 2:
                ops.update({"ALLOCATE": space_op(59, FORGED), "DEALLOCATE": space_op(62, FORGED),
                            "COPY": u32(60) + FORGED + ZERO + u64(0, 1 << 20, 1) + u32(1, 1, 0),
                            "CLONE": u32(71) + ZERO + FORGED + u64(0, 0, 4096),
                            "IO_ADVISE": u32(63) + FORGED + u64(0, 1) + bitmap(0),
                            "READ_PLUS": u32(68) + FORGED + u64(0) + u32(1),
                            "SEEK": u32(69) + FORGED + u64(0) + u32(0)})
            for name, op in ops.items():
                self.check(wrong, self.status(minor, here, SAVEFH, here, op),
                           BAD_STATEID if minor else STALE_STATEID, f"4.{minor} {name}")
        assert not wrong, "; ".join(wrong)

    def attributes(self):
        wrong, here = [], putfh(self.handles["file"])
        big = bitmap(90)
        for minor in (0, 1):
            for number in (48, 54):  # time_access_set, time_modify_set
                for name, op in (("GETATTR", u32(9) + bitmap(number)),
                                 ("VERIFY", u32(37) + bitmap(number) + opaque(u32(0))),
                                 ("NVERIFY", u32(17) + bitmap(number) + opaque(u32(0)))):
                    self.check(wrong, self.status(minor, here, op), INVAL, f"4.{minor} {name}")
                self.check(wrong, self.status(minor, putfh(self.root),
                                              readdir_op(wanted=bitmap(number))), INVAL,
                           f"4.{minor} READDIR")
            self.check(wrong, self.status(minor, here, u32(9) + big), OK, "GETATTR: not there")
            self.check(wrong, self.status(minor, here, u32(37) + big + opaque(b"")), ATTRNOTSUPP,
                       "VERIFY")
            self.check(wrong, self.status(minor, here, u32(17) + bitmap(11) + opaque(u32(0))),
                       INVAL, "NVERIFY of rdattr_error")
            self.check(wrong, self.status(minor, PUTROOTFH, u32(17) + bitmap(1) + opaque(u32(2))),
                       SAME, "NVERIFY of the root above")
            self.check(wrong, self.status(minor, here, u32(34) + ZERO + bitmap(1) +
                                          opaque(u32(1))), INVAL, "SETATTR of the type")
            for kind, wanted in ((1, BADTYPE), (9, BADTYPE), (99, BADTYPE)):
                self.check(wrong, self.status(minor, putfh(self.root), create_op(kind)), wanted,
                           f"CREATE of type {kind}")
            self.check(wrong, self.status(minor, here, u32(34) + ZERO + bitmap(54) + opaque(
                u32(1) + u64(500000000) + u32(1000000000))), INVAL, "SETATTR of no time")
            self.check(wrong, self.status(minor, putfh(self.handles["empty"]), readdir_op(15)),
                       TOOSMALL, "READDIR of nothing in 15 bytes")
            self.check(wrong, self.status(minor, putfh(self.handles["empty"]), readdir_op(16)),
                       OK, "in 16")
            for most, wanted in ((0, TOOSMALL), (20, TOOSMALL)):
                self.check(wrong, self.status(minor, putfh(self.root), readdir_op(most)), wanted,
                           f"READDIR in {most} bytes")
            for cookie in (1, 2, 1 << 63):
                self.check(wrong, self.status(minor, putfh(self.root), readdir_op(cookie=cookie)),
                           BAD_COOKIE, f"READDIR from {cookie}")
        self.check(wrong, self.status(0, *[PUTROOTFH] * 65), RESOURCE, "65 operations of v4.0")
        assert not wrong, "; ".join(wrong)

    def directories(self):
        """RENAME and LINK between what there is."""
        wrong, a = [], self.a
        d = self.handles["directory"]
        a.ops(putfh(self.root), create_op(name="full"))
        full = a.walk("files", "full")
        a.ops(putfh(full), create_op(name="x"))
        here = putfh(self.root), SAVEFH, putfh(self.root)

        def rename(source, target):
            return u32(29) + opaque(source) + opaque(target)
        for minor in (0, 1, 2):
            for source, target, wanted in (
                    ("nothing", "x", NOENT), ("file", "empty", (ISDIR, EXIST)),
                    ("empty", "file", (NOTDIR, EXIST)), ("empty", "full", (NOTEMPTY, EXIST)),
                    ("file", "file", OK)):
                self.check(wrong, self.status(minor, *here, rename(source, target)), wanted,
                           f"4.{minor} RENAME {source} {target}")
            self.check(wrong, self.status(minor, putfh(self.root), SAVEFH, putfh(full),
                                          rename("full", "y")), INVAL, "into itself")
            self.check(wrong, self.status(minor, putfh(d), SAVEFH, putfh(self.root),
                                          u32(11) + opaque("y")), ISDIR, "LINK of a directory")
            self.check(wrong, self.status(minor, putfh(self.handles["file"]), SAVEFH,
                                          putfh(self.root), u32(11) + opaque("file")), EXIST,
                       "LINK over something")
            self.check(wrong, self.status(minor, putfh(self.handles["file"]), SAVEFH,
                                          PUTROOTFH, lookup("squash"), u32(11) + opaque("y")),
                       XDEV, "LINK into another share")
            self.check(wrong, self.status(minor, putfh(self.root), u32(28) + opaque("full")),
                       NOTEMPTY, "REMOVE of a full directory")
        expect(a.ops(putfh(self.handles["file"]), SAVEFH, putfh(self.root),
                     u32(11) + opaque("linked")).status, OK, "LINK")
        for target in ("file", "linked"):  # the same file: nothing happens
            result = a.ops(*here, rename("file", target))
            for op in (22, 32, 22):
                result.good(op)
            r = result.good(29)
            for _ in range(2):
                r.bool()
                self.check(wrong, r.u64(), r.u64(), f"RENAME onto itself, {target}: change")
        assert not wrong, "; ".join(wrong)

    def principals(self):
        """Only who made a client known may change it."""
        c, thief = self.c, auth_sys(4711, 4711)
        owner = Client(c, b"somebody")
        handle, state = owner.open(self.root, "owned", how=UNCHECKED)
        for verifier in (b"v" * 8, b"another!"):
            expect(compound(c, [exchange_id(b"somebody", verifier)], cred=thief).status,
                   CLID_INUSE, "EXCHANGE_ID under its name")
        expect(compound(c, [exchange_id(b"somebody", flags=0x40000000)], cred=thief).status, PERM,
               "to change it")
        owner.close(handle, state)
        gone = Client(c, b"somebody else")
        expect(compound(c, [u32(44) + gone.session]).status, OK, "DESTROY_SESSION")
        compound(c, [exchange_id(b"somebody else")], cred=thief).good(42)
        expect(compound(c, [create_session(gone.id, gone.next + 1)]).status, STALE_CLIENTID,
               "one that has nothing makes room at once")
        r = compound(c, [exchange_id(b"new here")]).good(42)
        new, sequence = r.u64(), r.u32()
        expect(compound(c, [create_session(new, sequence)], cred=thief).status, CLID_INUSE,
               "CREATE_SESSION of another's client")
        compound(c, [create_session(new, sequence)]).good(43)

        def set_clientid(name, cred):
            return compound(c, [u32(35) + b"v" * 8 + opaque(name) + u32(1) + opaque("tcp") +
                                opaque("127.0.0.1.0.1") + u32(1)], minor=0, cred=cred)
        old = Old(c, b"an old one")
        old.open(self.root, "owned")
        result = set_clientid(b"an old one", thief)
        expect(result.status, CLID_INUSE, "SETCLIENTID under its name")
        expect(result.result(35), CLID_INUSE, "SETCLIENTID")
        using = result.r.opaque(), result.r.opaque().rsplit(b".", 2)[0]
        expect(using, (b"tcp", b"127.0.0.1"), "and who is using it")
        result.r.end()
        r = set_clientid(b"older", None).good(35)
        confirm = u32(36) + r.take(16)
        expect(compound(c, [confirm], minor=0, cred=thief).status, CLID_INUSE,
               "SETCLIENTID_CONFIRM of another's client")
        expect(compound(c, [confirm], minor=0).status, OK, "by itself")
        r = set_clientid(b"older", None).good(35)
        again = u32(36) + r.take(16)
        expect(again[4:12], confirm[4:12], "the same client, called elsewhere")
        expect(compound(c, [confirm], minor=0).status, OK, "the first confirmation, sent again")
        expect(compound(c, [confirm], minor=0, cred=thief).status, CLID_INUSE, "by another")
        expect(compound(c, [again], minor=0).status, OK, "the second one")
        expect(compound(c, [confirm], minor=0).status, STALE_CLIENTID, "the first one is over")
        # A session is destroyed at the end of a compound of its own, not in its middle.
        owner.fails(NOT_ONLY_OP, u32(44) + owner.session, PUTROOTFH)
        owner.ops(PUTROOTFH)


    # What OPEN says of an object, a number, an attribute: (the arguments behind the filehandle, the
    # status of v4.1, of v4.0; None: not there in it).
    def opening(self):
        wrong, root = [], putfh(self.root)

        def made(values):
            return {"how": u32(0) + values}
        by_name = (
            ("directory", {}, ISDIR, ISDIR), ("link", {}, SYMLINK, SYMLINK),
            ("fifo", {}, WRONG_TYPE, SYMLINK), ("directory", {"how": UNCHECKED}, EXIST, EXIST),
            ("link", {"how": UNCHECKED}, EXIST, EXIST), ("file", {"access": 0}, INVAL, INVAL),
            ("file", {"access": 4}, INVAL, INVAL), ("file", {"deny": 4}, INVAL, INVAL),
            ("new", made(bitmap(36) + opaque(opaque("bob@x"))), BADOWNER, BADOWNER),
            ("new", made(bitmap(36) + opaque(opaque(""))), INVAL, INVAL),
            ("new", made(attrs(0o10000)), INVAL, INVAL),
            ("new", made(bitmap(1) + opaque(u32(1))), INVAL, INVAL),
            ("new", made(bitmap(14) + opaque(u32(1))), ATTRNOTSUPP, ATTRNOTSUPP),
            ("new", made(attrs(0o644, 1 << 62)), FBIG, FBIG),
            ("new", made(bitmap(4) + opaque(u32(1))), BADXDR, BADXDR),
            ("new", {"how": u32(9) + attrs(0o644)}, BADXDR, BADXDR),
            ("new", {"how": u32(3) + b"verifier" + attrs(0o644)}, OK, BADXDR),
            ("new", {}, OK, OK))
        for name, how, new, old in by_name:
            for minor, wanted in ((1, new), (2, new), (0, old)):
                self.check(wrong, self.open_status(minor, name, **how), wanted,
                           f"4.{minor} OPEN {name} {how}")
        for minor in (1, 2):
            for claim, rest, place, wanted in (
                    (9, b"", root, BADXDR), (3, opaque("file"), root, NOTSUPP),
                    (2, FORGED + opaque("file"), root, BAD_STATEID),
                    (5, FORGED, putfh(self.handles["file"]), BAD_STATEID),
                    (6, b"", putfh(self.handles["file"]), NOTSUPP),
                    (4, b"", putfh(self.handles["directory"]), ISDIR),
                    (4, b"", putfh(self.handles["link"]), SYMLINK),
                    (4, b"", putfh(self.handles["fifo"]), WRONG_TYPE)):
                self.check(wrong, self.status(minor, place, open_file("", claim=claim) + rest),
                           wanted, f"4.{minor} OPEN, claim {claim}")
            self.check(wrong, self.status(minor, putfh(self.handles["file"]),
                                          open_file("", claim=4, how=UNCHECKED)), INVAL,
                       f"4.{minor} OPEN by filehandle, to create")
            self.check(wrong, self.status(minor, root, open_file(
                "", claim=0xdeadbeef, how=made(bitmap(14) + opaque(u32(1)))["how"])), BADXDR,
                f"4.{minor} OPEN, no claim, and an attribute that there is not")
        assert not wrong, "; ".join(wrong)

    def open_status(self, minor, name, access=3, deny=0, how=None):
        if minor:
            return self.status(minor, putfh(self.root),
                               open_file(name, access=access, deny=deny, how=how))
        old = self.clients[0]
        old.seqid += 1
        return self.status(0, putfh(self.root), u32(18, old.seqid, access, deny) + u64(old.id) +
                           opaque(b"old") + (u32(0) if how is None else u32(1) + how) + u32(0) +
                           opaque(name))

    def numbers(self):
        """Past the largest file, past 2^64, in no union, and handles that are none."""
        wrong, file, end = [], putfh(self.handles["file"]), (1 << 64) - 1
        for minor in (0, 1, 2):
            client = self.clients[0].id if minor == 0 else 0
            for what, op, wanted in (
                    ("SETATTR of 2^62", u32(34) + ZERO + attrs(size=1 << 62), FBIG),
                    ("SETATTR of 2^64 - 1", u32(34) + ZERO + attrs(size=end), FBIG),
                    ("SETATTR of the mode 0o10000", u32(34) + ZERO + attrs(0o10000), INVAL),
                    ("SETATTR of half a size", u32(34) + ZERO + bitmap(4) + opaque(u32(1)), BADXDR),
                    ("SETATTR of more", u32(34) + ZERO + bitmap(4) + opaque(u64(1) + u32(1)),
                     BADXDR),
                    ("SETATTR of no owner", u32(34) + ZERO + bitmap(36) + opaque(opaque("")),
                     INVAL),
                    ("SETATTR of no group", u32(34) + ZERO + bitmap(37) + opaque(opaque("")),
                     INVAL),
                    ("COMMIT past 2^64", u32(5) + u64(end) + u32(1), INVAL),
                    ("COMMIT to there", u32(5) + u64(end - 1) + u32(1), OK),
                    ("WRITE past 2^64", u32(38) + ZERO + u64(end) + u32(2) + opaque(b"abc"), FBIG),
                    ("WRITE at 2^62", u32(38) + ZERO + u64(1 << 62) + u32(2) + opaque(b"a"), FBIG),
                    ("WRITE of stability 3", u32(38) + ZERO + u64(0) + u32(3) + opaque(b"a"),
                     BADXDR),
                    ("READ at the end", u32(25) + ZERO + u64(end) + u32(9), OK),
                    ("LOCKT of type 9", u32(13, 9) + u64(0, 1, client) + opaque(b"o"), BADXDR),
                    ("LOCKT of nothing", lockt_op(1, 0, 0, b"o", client), INVAL),
                    ("LOCKT past 2^64", lockt_op(1, end, 2, b"o", client), INVAL),
                    ("DELEGRETURN of nobody's", u32(8) + FORGED, BAD_STATEID),
                    ("OPENATTR", u32(19, 1), NOTSUPP)):
                self.check(wrong, self.status(minor, file, op), wanted, f"4.{minor} {what}")
            for handle, wanted in ((b"", BADHANDLE), (b"x" * 128, BADHANDLE), (b"x" * 129, BADXDR)):
                self.check(wrong, self.status(minor, putfh(handle)), wanted,
                           f"4.{minor} PUTFH of {len(handle)} bytes")
            for what, op, wanted in (
                    ("no path", create_op(5, "odd", opaque("")), INVAL),
                    ("a long path", create_op(5, "odd", opaque("x" * 5000)), NAMETOOLONG),
                    ("a path with NUL", create_op(5, "odd", opaque("x\0y")), INVAL),
                    ("a size of a folder", create_op(2, "odd", values=attrs(size=5)), INVAL),
                    ("an owner by name", create_op(2, "odd", values=bitmap(36) + opaque(
                        opaque("bob@x"))), BADOWNER),
                    ("an archive bit", create_op(2, "odd", values=bitmap(14) + opaque(u32(1))),
                     ATTRNOTSUPP)):
                self.check(wrong, self.status(minor, putfh(self.root), op), wanted,
                           f"4.{minor} CREATE, {what}")
            self.check(wrong, self.status(minor, putfh(self.root), lookup("odd")), NOENT,
                       "nothing is made")
        # what went with the versions
        for minor, ops, wanted in ((0, (*range(40, 53), *range(54, 59)), OP_ILLEGAL),
                                   (1, (20, 30, 35, 36, 39), NOTSUPP),
                                   (2, (20, 30, 35, 36, 39), NOTSUPP),
                                   (1, (46, 47, 48, 49, 50, 51, 54, 56), NOTSUPP)):
            for op in (*ops, 0, 1, 2):
                self.check(wrong, self.status(minor, file, u32(op) + bytes(96)),
                           wanted if op > 2 else OP_ILLEGAL, f"4.{minor} operation {op}")
        assert not wrong, "; ".join(wrong)

    def uncached(self):
        """A reply that was not to be kept is not there for a retry, however small, and the request
        is not run again (RFC 8881 2.10.6.1.3). That of SEQUENCE alone always is."""
        a, file = self.a, putfh(self.handles["file"])
        expect(a.ops(file, u32(38) + ZERO + u64(0) + u32(2) + opaque(bytes(4000))).status, OK,
               "WRITE")
        ops = [file, u32(25) + ZERO + u64(0) + u32(4000)]
        expect(a.ops(*ops).status, OK, "READ")
        retry = [a.sequence_op(a.sequence), *ops]
        result = compound(self.c, retry)
        expect((result.status, result.count), (RETRY_UNCACHED_REP, 1), "a retry")
        ops = [putfh(self.root), u32(6) + u32(2) + opaque("made once") + attrs(mode=0o755)]
        expect(a.ops(*ops).status, OK, "CREATE")
        result = compound(self.c, [a.sequence_op(a.sequence), *ops])
        expect((result.status, result.count), (RETRY_UNCACHED_REP, 1), "a retry of CREATE")
        first = a.ops().r.data[24:]
        result = compound(self.c, [a.sequence_op(a.sequence)])
        expect((result.status, result.r.data[24:]), (OK, first), "a retry of SEQUENCE")
        expect(a.ops(putfh(self.root)).status, OK, "the next one")


CASES = ("kinds", "meaning", "no_filehandle", "names", "rights", "others_stateids", "read_only", "stateids", "attributes",
         "directories", "principals", "opening", "numbers", "uncached")


def test(t):
    server = rpc.MemoryServer()
    try:
        suite = Suite(server)
        for name in CASES:
            case(t, name, getattr(suite, name))
        suite.c.close()
    finally:
        status, said = server.stop()
    t.point(status == 0, "the server ends cleanly", said)


if __name__ == "__main__":
    tap.run(test)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=240 engines=both asan waits
"""Input that has broken other iSCSI targets, before and after login. After every case the server
must be the same process, serve a well-behaved client, and stay within its memory bound."""

import os
import socket
import struct
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import iscsi_client as iscsi  # pylint: disable=wrong-import-position
import server as daemon       # pylint: disable=wrong-import-position
import tap                    # pylint: disable=wrong-import-position

IQN = daemon.DEMO_TARGET
ME = "iqn.2026-11.org.granary:tester"
MEMORY_GROWTH_MAX = 256 << 20  # bytes of RSS over the first look; sanitizers keep quarantines
LOGIN_LIMIT = 25               # seconds by which a login that goes nowhere must be gone
BASIC = [("InitiatorName", ME), ("SessionType", "Normal"), ("TargetName", IQN),
         ("AuthMethod", "None")]


class Bad:
    """The cases share one server; each opens its own connections."""

    def __init__(self, server):
        self.server = server
        self.round = 0

    def connect(self, timeout=60.0):
        return iscsi.Connection(self.server.address, self.server.port, timeout)

    def session(self, pairs=()):
        return self.connect().login(IQN, pairs=pairs)

    def growth(self, before):
        """Bytes over @before; what a client left is given back when its connection is seen to end."""
        limit = time.monotonic() + 30
        while (grown := self.rss() - before) >= MEMORY_GROWTH_MAX and time.monotonic() < limit:
            time.sleep(0.1)
        return grown

    def rss(self):
        with open(f"/proc/{self.server.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * 4096

    def good_client(self):
        """A client that behaves gets what it asks for."""
        self.round += 1
        block = struct.pack(">QQ", self.round, ~self.round & 0xFFFFFFFFFFFFFFFF) * 256
        with self.session() as good:
            good.isid = bytes([0x80, 0, 0, 0, 0, 99])
            status = good.command([0x12, 0, 0, 0, 96, 0], expected=96)
            assert status.status == 0 and status.data[8:16].strip(), "INQUIRY"
            while good.command([0] * 6).status:
                pass  # unit attentions
            good.write(4096, block)
            assert good.read(4096, 8) == block, "read back"
            assert good.logout() == 0, "logout"

    # -- before login ------------------------------------------------------------------------
    def ended(self, connection, limit=LOGIN_LIMIT):
        """The server must end @connection; the PDUs it said before."""
        seen = connection.expect_end(limit)
        connection.close()
        return seen

    def refused(self, pairs, **options):
        """A first login request that must be refused: failure status or closed connection."""
        with self.connect() as connection:
            try:
                answer = connection.login_step(pairs, **options)
            except (iscsi.LoginFailed, iscsi.Closed):
                return
            raise AssertionError(f"login went on: {iscsi.parse_text(answer.data)}")

    def garbage_first(self):
        for filler in (b"\0", b"\xff", b"GET / HTTP/1.1\r\n\r\n"):
            connection = self.connect()
            try:
                connection.send_raw((filler * 4096)[:4096])
            except iscsi.Closed:
                pass
            self.ended(connection)

    def command_before_login(self):
        for opcode in (iscsi.COMMAND, iscsi.NOP_OUT, iscsi.TEXT, iscsi.DATA_OUT, iscsi.TASK,
                       iscsi.LOGOUT, iscsi.SNACK, iscsi.RESPONSE, 0x1C, 0x3E):
            connection = self.connect()
            connection.send_raw(connection.pdu(opcode))
            self.ended(connection)

    def login_length_lies(self):
        for length in (1, 0xFFFFFF, 65537):
            connection = self.connect()
            try:
                connection.send_raw(connection.login_pdu(BASIC, length=length))
                connection.socket.shutdown(socket.SHUT_WR)
            except (iscsi.Closed, OSError):
                pass
            self.ended(connection)

    def login_ahs(self):
        for ahs_length, ahs in ((255, b""), (1, b"\0\1\1\0"), (4, b"\0\xff\1\0" + bytes(12))):
            connection = self.connect()
            connection.send_raw(connection.login_pdu(BASIC, ahs=ahs, ahs_length=ahs_length))
            try:
                connection.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            self.ended(connection)

    def endless_text(self):
        connection = self.connect()
        try:
            for _ in range(400):
                answer = connection.login_step([], data=b"X-a=" + b"b" * 8000, transit=False,
                                               cont=True)
                assert not answer.flags & 0x80
            raise AssertionError("3 MB of continued login text were taken")
        except (iscsi.LoginFailed, iscsi.Closed):
            connection.close()

    def bad_keys(self):
        many = b"".join(b"X-%d=1\0" % n for n in range(800))
        for data in (iscsi.text(BASIC + BASIC),                       # every key twice
                     iscsi.text(BASIC)[:-1],                          # not terminated
                     b"InitiatorName\0",                              # no '='
                     b"=value\0" + iscsi.text(BASIC),                 # no name
                     b"\0" * 512,
                     b"InitiatorName=\0TargetName=\0",
                     iscsi.text([("InitiatorName", "x" * 300)] + BASIC[1:]),
                     iscsi.text([("InitiatorName", "iqn.2026-11.org.granary:\x01\x7f")] + BASIC[1:]),
                     iscsi.text([("I" * 64, "1")]),
                     bytes(range(1, 256)) * 16,
                     many):
            with self.connect() as connection:
                connection.send_raw(connection.login_pdu([], data=data))
                try:
                    answer = connection.receive()
                    logged_in = answer.bhs[36] == 0 and answer.flags & 0x83 == 0x83
                    # only the one with its last NUL missing may pass for what it is
                    assert not logged_in or data == iscsi.text(BASIC)[:-1], data[:60]
                except iscsi.Closed:
                    pass

    def bad_values(self):
        for key, value in (("MaxRecvDataSegmentLength", "0"), ("MaxRecvDataSegmentLength", "511"),
                           ("MaxRecvDataSegmentLength", "16777216"),
                           ("MaxRecvDataSegmentLength", "-1"),
                           ("MaxRecvDataSegmentLength", "9" * 200),
                           ("MaxBurstLength", "1"), ("FirstBurstLength", "0x"),
                           ("MaxOutstandingR2T", "0"), ("MaxConnections", "65536"),
                           ("InitialR2T", "Maybe"), ("HeaderDigest", ""),
                           ("DataDigest", "MD5,SHA,,,"), ("ErrorRecoveryLevel", "3"),
                           ("DefaultTime2Wait", "3601"), ("IFMarkInt", "1~2~3")):
            with self.connect() as connection:
                connection.send_raw(connection.login_pdu(BASIC + [(key, value)]))
                try:
                    answer = connection.receive()
                except iscsi.Closed:
                    continue
                said = dict(iscsi.parse_text(answer.data)).get(key)
                assert answer.bhs[36] or said != value or key == "DataDigest", (key, value, said)

    def stage_jumps(self):
        for csg, nsg in ((3, 3), (2, 3), (0, 2), (1, 0), (1, 1), (0, 0), (3, 1)):
            with self.connect() as connection:
                connection.send_raw(connection.login_pdu(BASIC, csg=csg, nsg=nsg))
                try:
                    answer = connection.receive()
                    assert answer.bhs[36] == 2, f"stage {csg}->{nsg} was taken"
                except iscsi.Closed:
                    pass
        with self.connect() as connection:  # transit and continue at once
            connection.send_raw(connection.login_pdu(BASIC, cont=True))
            try:
                assert connection.receive().bhs[36] == 2, "T with C was taken"
            except iscsi.Closed:
                pass

    def bad_version(self):
        with self.connect() as connection:
            connection.send_raw(connection.login_pdu(BASIC, version_max=7, version_min=5))
            answer = connection.receive()
            assert (answer.bhs[36], answer.bhs[37]) == (2, 5), answer.bhs[36:38]

    def names(self):
        self.refused([("SessionType", "Normal"), ("TargetName", IQN), ("AuthMethod", "None")])
        self.refused([("InitiatorName", ME), ("AuthMethod", "None")])
        self.refused([("InitiatorName", ME), ("TargetName", IQN + "x"), ("AuthMethod", "None")])
        self.refused([("InitiatorName", ME), ("TargetName", IQN), ("SessionType", "Other")])
        self.refused([("InitiatorName", ME), ("TargetName", IQN), ("AuthMethod", "KRB5")])

    def stage_forever(self):
        connection = self.connect()
        try:
            for _ in range(2000):
                connection.login_step(BASIC if _ == 0 else [("X-org.granary.n", "1")],
                                      transit=False)
            raise AssertionError("2000 login requests without a stage change were taken")
        except (iscsi.LoginFailed, iscsi.Closed):
            connection.close()

    def unknown_session(self):
        with self.connect() as connection:
            connection.tsih = 0x7777
            try:
                connection.login_step(BASIC)
                raise AssertionError("a session that does not exist was joined")
            except iscsi.LoginFailed as failure:
                assert failure.status == (2, 0x0A), failure.status

    def half_open(self):
        idle = [self.connect() for _ in range(40)]
        slow = self.connect()
        started = time.monotonic()
        raw = slow.login_pdu(BASIC)
        try:
            for byte in raw[:LOGIN_LIMIT]:  # a byte a second: never a login within the limit
                slow.send_raw(bytes([byte]))
                time.sleep(1)
                if time.monotonic() - started > LOGIN_LIMIT:
                    break
        except iscsi.Closed:
            pass
        for connection in idle + [slow]:
            self.ended(connection, 20)
        assert time.monotonic() - started < LOGIN_LIMIT + 20

    def login_flood(self):
        flood = []
        for number in range(1500):
            try:
                connection = self.connect(10)
                flood.append(connection)
                if number % 3 == 0:
                    connection.send_raw(connection.login_pdu(BASIC, transit=False))
            except (OSError, iscsi.Closed):
                break
        for connection in flood:
            connection.close()
        # Beyond its limits the server turns newcomers away, until it has seen the others leave.
        deadline = time.monotonic() + 60
        while True:
            try:
                return self.good_client()
            except (OSError, iscsi.Closed):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    # -- after login -------------------------------------------------------------------------
    def wrong_lengths(self):
        with self.session() as client:
            maximum = int(client.keys.get("MaxRecvDataSegmentLength", 8192))
        for length in (maximum + 4, 0xFFFFFF):
            client = self.session()
            itt = client.tag()
            client.send_raw(client.pdu(iscsi.NOP_OUT | iscsi.IMMEDIATE, data=b"", length=length,
                                       itt=itt, specific=struct.pack(">III", iscsi.NO_TAG, 1, 0)))
            try:
                client.send_raw(b"\0" * min(length, 1 << 20))
            except iscsi.Closed:
                pass
            self.ended(client)

    def data_out_lies(self):
        write = struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 64, 0)
        lies = [dict(offset=512), dict(offset=1 << 31), dict(datasn=7), dict(ttt_xor=1),
                dict(data=b"x" * 65536), dict(data=b""), dict(data=b"x" * 100)]
        for lie in lies:
            client = self.session()
            while client.command([0] * 6).status:
                pass
            itt = client.send_command(write, b"x" * 32768)
            r2t = client.receive()
            assert r2t.opcode == iscsi.R2T, hex(r2t.opcode)
            lie = dict(lie)
            ttt = r2t.ttt ^ lie.pop("ttt_xor", 0)
            body = lie.pop("data", b"x" * 4096)
            client.data_out(itt, ttt, lie.pop("offset", 0), body, **lie)
            client.socket.settimeout(3)
            try:  # the command fails, is rejected, or the connection ends: never GOOD
                while True:
                    answer = client.receive()
                    assert answer.opcode != iscsi.RESPONSE or answer.bhs[3] != 0, lie
                    if answer.opcode in (iscsi.RESPONSE, iscsi.REJECT):
                        break
            except (iscsi.Closed, socket.timeout):
                pass
            client.close()

    def unsolicited_data_out(self):
        client = self.session()
        client.data_out(0x1234, iscsi.NO_TAG, 0, b"x" * 512)
        client.data_out(0x1234, 0x5678, 0, b"x" * 512)
        try:
            client.ping()
        except iscsi.Closed:
            pass
        client.close()

    def tag_reuse(self):
        client = self.session()
        while client.command([0] * 6).status:
            pass
        write = struct.pack(">BBIBHB", 0x2A, 0, 0, 0, 64, 0)
        client.send_command(write, b"x" * 32768, itt=0x42)
        client.send_command(write, b"x" * 32768, itt=0x42)
        client.socket.settimeout(3)
        try:
            for _ in range(8):
                client.receive()
        except (iscsi.Closed, socket.timeout):
            pass
        client.close()

    def command_numbers(self):
        client = self.session()
        for cmdsn in (0, 0xFFFFFFFF, 0x7FFFFFFF, client.cmdsn + 100000):
            client.send_command([0] * 6, cmdsn=cmdsn)  # outside the window: silently dropped
        client.socket.settimeout(2)
        try:
            client.receive()
            raise AssertionError("a command outside the window was answered")
        except socket.timeout:
            pass
        client.socket.settimeout(60)
        assert client.command([0] * 6) is not None
        client.close()

    def cdbs(self):
        """Allocation lengths 0..4, LBA + length wrap, reserved bits, unknown opcodes."""
        with self.session() as client:
            while client.command([0] * 6).status:
                pass
            for opcode in (0x12, 0x1A, 0x03, 0x5A, 0xA0, 0x9E, 0xA3):
                for length in range(5):
                    cdb = bytearray(16)
                    cdb[0] = opcode
                    if opcode in (0x12, 0x1A, 0x03):
                        cdb[4] = length
                    elif opcode == 0x5A:
                        cdb[8] = length
                    elif opcode == 0xA0:
                        cdb[9] = length
                    elif opcode == 0xA3:
                        cdb[1], cdb[9] = 0x0C, length
                    else:
                        cdb[1], cdb[13] = 0x10, length
                    result = client.command(cdb, expected=64)
                    assert len(result.data) <= max(length, 0), (opcode, length, result.data)
            for lba, blocks in ((0xFFFFFFFFFFFFFFFF, 1), (0xFFFFFFFFFFFFFFFE, 8),
                                (1 << 63, 0xFFFFFFFF), (0, 0xFFFFFFFF)):
                for opcode in (0x88, 0x8A, 0x8F, 0x91, 0x93):
                    cdb = struct.pack(">BBQIBB", opcode, 2 if opcode == 0x8F else 0, lba, blocks,
                                      0, 0)
                    data = b"" if opcode in (0x88, 0x91) else b"x" * 512
                    result = client.command(cdb, data, expected=512 if opcode == 0x88 else 0)
                    if (lba, opcode) != (0, 0x91):
                        assert result.key_asc_ascq in ((5, 0x21, 0), (5, 0x24, 0)), \
                            (hex(opcode), lba, blocks, result.key_asc_ascq)
            for opcode in range(256):
                if opcode in (0x2A, 0x0A, 0xAA, 0x8A, 0x41, 0x93, 0x42, 0x2E, 0x8E, 0xAE, 0x15,
                              0x55, 0x16, 0x17, 0x1B):
                    continue
                client.command(bytes([opcode]) + b"\xff" * 15, expected=512)

    def parameter_lists(self):
        """UNMAP and MODE SELECT whose inner lengths lie."""
        with self.session() as client:
            while client.command([0] * 6).status:
                pass
            for claimed in (0, 1, 8, 24, 0xFFFF):
                for data_length, descriptors in ((0, 0), (6, 0), (22, 16), (22, 0xFFF0),
                                                 (0xFFFF, 16), (22, 15)):
                    body = struct.pack(">HH4xQI4x", data_length, descriptors, 1 << 60, 0xFFFFFFFF)
                    cdb = struct.pack(">BBIBHB", 0x42, 0, 0, 0, claimed, 0)
                    client.command(cdb, body)
            for claimed in range(0, 64, 3):
                for body in (b"\0" * 64, b"\xff" * 64, b"\0\0\0\x08" + b"\xff" * 60,
                             b"\0\0\0\0\x08\xff" + bytes(58), b"\0\0\0\0\x48\x01\xff\xff" + bytes(56)):
                    client.command([0x15, 0x10, 0, 0, claimed, 0], body)
                    client.command([0x55, 0x10, 0, 0, 0, 0, 0, 0, claimed, 0], body)

    def edtl_lies(self):
        """The expected length is more, less or nothing of what the CDB moves."""
        with self.session() as client:
            while client.command([0] * 6).status:
                pass
            read = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 8, 0)
            for expected in (0, 1, 511, 4095, 4097, 1 << 20):
                result = client.command(read, expected=expected) if expected else \
                    client.finish(client.send_command(read, expected=0))
                assert len(result.data) <= expected
                if expected > 4096 and result.status == 0:
                    assert result.underflow and result.residual == expected - 4096
                if 0 < expected < 4096 and result.status == 0:
                    assert result.overflow and result.residual == 4096 - expected
            write = struct.pack(">BBIBHB", 0x2A, 0, 8, 0, 8, 0)
            for size in (0, 1, 512, 4095, 4097, 8192, 65536):
                client.command(write, b"w" * size)

    def task_management_races(self):
        with self.session() as client:
            while client.command([0] * 6).status:
                pass
            read = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 8, 0)
            for function in (1, 2, 4, 5, 1, 2):
                tags = [client.send_command(read, expected=4096, read=True) for _ in range(16)]
                client.task_management(function, tags[-1], refcmdsn=client.cmdsn - 1)
                client.ping()
            for function in (0, 8, 14, 99, 127):
                assert client.task_management(function) != 0
            while client.command([0] * 6).status:
                pass

    def logout_races(self):
        client = self.session()
        read = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 128, 0)
        for _ in range(32):
            client.send_command(read, expected=65536, read=True)
        client.logout()
        self.ended(client)
        client = self.session()
        for _ in range(32):
            client.send_command(read, expected=65536, read=True)
        client.close()  # with all of it in flight

    def never_reads(self):
        """A client that asks for data and never takes it must not cost unbounded memory."""
        client = self.session()
        client.socket.settimeout(3)
        read = struct.pack(">BBIBHB", 0x28, 0, 0, 0, 2048, 0)
        try:
            for _ in range(4000):
                client.send_command(read, expected=1 << 20, read=True)
        except (socket.timeout, iscsi.Closed):
            pass
        growth = self.rss()
        client.close()
        assert growth < 1 << 30, f"{growth >> 20} MiB for one client that does not read"

    def wrong_opcodes(self):
        for opcode in (0x07, 0x0F, 0x1C, 0x20, 0x25, 0x31, 0x3F, iscsi.SNACK):
            client = self.session()
            client.send_raw(client.pdu(opcode, itt=7, data=b"abcd"))
            client.socket.settimeout(3)
            try:
                client.ping()
            except (iscsi.Closed, socket.timeout):
                pass
            client.close()

    def texts_at_once(self):
        """Two text requests that have their turn one right after the other, as the second came first."""
        for _ in range(50):
            client = self.session()
            base = client.cmdsn
            for itt, cmdsn in ((0x52, base + 1), (0x51, base)):
                specific = struct.pack(">III", iscsi.NO_TAG, cmdsn, client.expstatsn)
                client.send_raw(client.pdu(iscsi.TEXT, iscsi.FINAL, b"SendTargets=\0", itt=itt,
                                           specific=specific))
            answers = [client.receive(), client.receive()]
            assert sorted(pdu.opcode for pdu in answers) == [iscsi.TEXT_RESPONSE, iscsi.REJECT]
            assert {pdu.itt for pdu in answers} == {0x51, iscsi.NO_TAG}
            client.cmdsn = base + 2
            while client.command([0] * 6).status:
                pass
            client.close()

    def text_chains(self):
        client = self.session()
        answer = client.text_request(b"SendTargets=All\0")
        assert answer.opcode == iscsi.TEXT_RESPONSE
        try:
            for data in (b"SendTargets", b"=\0", b"\0" * 100, b"A" * 4000, b"SendTargets=" + b"x" * 255):
                client.text_request(data)
            itt = client.tag()
            for _ in range(200):
                answer = client.text_request(b"X=" + b"y" * 4000, itt=itt, flags=0x40)
                if answer.opcode == iscsi.REJECT:
                    break
            else:
                raise AssertionError("800 KB of continued text were taken")
        except iscsi.Closed:
            pass
        client.close()

    def luns(self):
        with self.session() as client:
            for lun in (1, 255, 0x3FFF, 0x4001, 0x7FFF, 0xC101, 0xFFFF):
                result = client.command([0] * 6, lun=lun)
                assert result.status == iscsi.CHECK_CONDITION, hex(lun)
                result = client.command([0x12, 0, 0, 0, 96, 0], expected=96, lun=lun)
                assert result.status or result.data[0] & 0xE0, f"INQUIRY claims LUN {lun:x}"

    def torn_pdus(self):
        """The connection dies in the middle of every part of a PDU."""
        write = struct.pack(">BBIBHB", 0x2A, 0, 16, 0, 16, 0)
        for cut in (1, 47, 48, 49, 1000, 48 + 8191):
            client = self.session()
            while client.command([0] * 6).status:
                pass
            specific = struct.pack(">III", 8192, client.cmdsn, client.expstatsn) + write + bytes(6)
            raw = client.pdu(iscsi.COMMAND, 0xA1, b"t" * 8192, itt=9, specific=specific)
            client.send_raw(raw[:cut])
            client.close()


def case_names():
    return ["garbage_first", "command_before_login", "login_length_lies", "login_ahs",
            "endless_text", "bad_keys", "bad_values", "stage_jumps", "bad_version", "names",
            "stage_forever", "unknown_session", "login_flood", "half_open", "wrong_lengths",
            "data_out_lies", "unsolicited_data_out", "tag_reuse", "command_numbers", "cdbs",
            "parameter_lists", "edtl_lies", "task_management_races", "logout_races",
            "never_reads", "wrong_opcodes", "texts_at_once", "text_chains", "luns", "torn_pdus"]


def test(points):
    with tempfile.TemporaryDirectory() as state:
        server = daemon.Server(state)
        try:
            bad = Bad(server)
            bad.good_client()
            before = bad.rss()
            for name in case_names():
                trouble = ""
                try:
                    getattr(bad, name)()
                except Exception as error:  # pylint: disable=broad-except
                    trouble = f"{type(error).__name__}: {error}"
                if not trouble:
                    try:
                        assert server.process.poll() is None, "the server is gone"
                        bad.good_client()
                        grown = bad.growth(before)
                        assert grown < MEMORY_GROWTH_MAX, f"RSS grew by {grown >> 20} MiB"
                    except Exception as error:  # pylint: disable=broad-except
                        trouble = f"a good client afterwards: {type(error).__name__}: {error}"
                if not points.point(not trouble, name.replace("_", " "), trouble):
                    if server.process.poll() is not None:
                        points.note(server.log()[-2000:])
                        return
            points.point(server.stop() == 0, "clean stop afterwards")
        finally:
            server.stop()


if __name__ == "__main__":
    tap.run(test)

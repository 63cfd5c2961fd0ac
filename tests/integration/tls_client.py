# SPDX-License-Identifier: Apache-2.0
"""RPC-with-TLS (RFC 9289) for the connections of rpc_client.py."""

import os
import ssl
import subprocess

import rpc_client as rpc
from rpc_client import u32, opaque

AUTH_TLS = 7
ASK = u32(AUTH_TLS) + opaque(b"")


def make_certificates(folder):
    build = os.path.abspath(os.environ.get("BUILD", "build"))
    subprocess.run([os.path.join(build, "tests/integration/tls_certificates"), folder], check=True)


def context(folder=None, certificate=None, alpn=("sunrpc",), authority="server.pem"):
    """A client's: with @certificate of @folder, believing @authority there (None: anybody)."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = bool(folder and authority)
    made.verify_mode = ssl.CERT_REQUIRED if folder and authority else ssl.CERT_NONE
    if folder and authority:
        made.load_verify_locations(os.path.join(folder, authority))
    if certificate:
        made.load_cert_chain(os.path.join(folder, certificate))
    if alpn:
        made.set_alpn_protocols(list(alpn))
    return made


class Tunnel:
    """A socket in TLS, with what of a socket rpc_client.py uses."""

    def __init__(self, raw, how, name="localhost"):
        self.raw, self.incoming, self.outgoing = raw, ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = how.wrap_bio(self.incoming, self.outgoing, server_hostname=name)

    def flush(self):
        if self.outgoing.pending:
            self.raw.sendall(self.outgoing.read())

    def more(self):
        """False: the peer has closed."""
        data = self.raw.recv(1 << 18)
        if not data:
            return False
        self.incoming.write(data)
        return True

    def until_done(self, step):
        while True:
            try:
                result = step()
                self.flush()
                return result
            except ssl.SSLWantReadError:
                self.flush()
                if not self.more():
                    raise rpc.Closed() from None

    def shake(self):
        try:
            self.until_done(self.tls.do_handshake)
        except ssl.SSLError:
            self.flush()
            raise

    def sendall(self, data):
        self.tls.write(data)
        self.flush()

    def recv(self, length):
        try:
            return self.until_done(lambda: self.tls.read(length))
        except (rpc.Closed, ssl.SSLZeroReturnError):
            return b""
        except ssl.SSLError as error:
            if error.reason and "ALERT" in error.reason:
                raise
            return b""

    def settimeout(self, seconds):
        self.raw.settimeout(seconds)

    def close(self):
        self.raw.close()


def offer(connection, program=rpc.NFS, version=4):
    """AUTH_TLS on NULL; True when the server says STARTTLS."""
    body = connection.call_body(program, version, 0, cred=ASK)
    connection.record(body)
    reply = connection.reply()
    assert reply.take(4) == body[:4] and reply.u32() == 1, "a reply to the call"
    if reply.u32() == 1:
        return False
    flavor, verifier = reply.u32(), reply.opaque()
    assert reply.u32() == 0, "accept status"
    reply.end()
    return (flavor, verifier) == (0, b"STARTTLS")


def secure(connection, how, program=rpc.NFS, version=4):
    """@connection goes on in TLS; returns it."""
    assert offer(connection, program, version), "no STARTTLS"
    assert connection.buffer == b"", "bytes behind STARTTLS"
    tunnel = Tunnel(connection.socket, how)
    connection.socket = tunnel
    tunnel.shake()
    return connection

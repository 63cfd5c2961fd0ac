# SPDX-License-Identifier: Apache-2.0
"""PostgreSQL in a recorded guest (traces.py): this machine's own programs, taken along, a load of
transactions whose contents follow from their numbers, and what must be in the cluster after a power
loss.

Clients 1, 2, .. send transactions 1, 2, .. each, one after another, and say on the marks' disk "NAME
pgtxn CLIENT NUMBER" when COMMIT of one has returned. A transaction moves money between two accounts
that all clients share, notes that in history, puts rows of a length of its own into part, and takes
out those of an old one."""

import glob
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time

from tap import Skip

CLIENTS = 3
ACCOUNTS = 20
WINDOW = 30  # a transaction's rows stay for so many
USER = 65534  # PostgreSQL does not run as root
DATA = "data"  # the cluster's folder in the file system
ARCHIVE = "postgres.tar"
START_LIMIT, STOP_LIMIT = 120, 60

# Bash for the guest. A cluster of checksummed pages, with little room for its log, so that there
# are checkpoints all the time; then the clients.
GUEST = r"""
pg=@BIN@
pg_run() { setpriv --reuid @USER@ --regid @USER@ --clear-groups env -u SHARE LC_ALL=C HOME=/tmp PATH="$pg:$PATH" "$@"; }
pg_sql() { pg_run psql -X -q -h /tmp -U postgres -v ON_ERROR_STOP=1 "$@" postgres >/dev/null; }
pg_make() {
	local name=$1 top=/mnt/$1 client
	tar -x -C / --skip-old-files -f "$SHARE/@ARCHIVE@" && ldconfig || return 1
	mkdir -p /dev/shm && mount -t tmpfs tmpfs /dev/shm && chmod 1777 /dev/shm /tmp || return 1
	mkdir -m 700 "$top/@DATA@" && chown @USER@:@USER@ "$top/@DATA@" || return 1
	pg_run initdb -D "$top/@DATA@" -U postgres -A trust -E UTF8 --locale=C --data-checksums --wal-segsize=1 || return 1
	cat >> "$top/@DATA@/postgresql.conf" <<-EOF
		listen_addresses = ''
		unix_socket_directories = '/tmp'
		max_connections = 12
		shared_buffers = 4MB
		min_wal_size = 2MB
		max_wal_size = 4MB
		checkpoint_timeout = 30s
		wal_writer_delay = 10ms
		autovacuum_naptime = 2s
		timezone = 'GMT'
		jit = off
	EOF
	pg_run pg_ctl -D "$top/@DATA@" -l /tmp/pg.log -w -t 120 start || { cat /tmp/pg.log; return 1; }
	pg_sql -c "CREATE EXTENSION amcheck; CREATE TABLE account(id int PRIMARY KEY, money int NOT NULL);
		INSERT INTO account SELECT i, 1000 FROM generate_series(0, @ACCOUNTS@ - 1) i;
		CREATE TABLE done(client int PRIMARY KEY, n int NOT NULL); INSERT INTO done SELECT i, 0 FROM generate_series(1, @CLIENTS@) i;
		CREATE TABLE history(client int, n int, giver int REFERENCES account, taker int REFERENCES account, money int, PRIMARY KEY(client, n));
		CREATE TABLE part(client int, n int, part int, body text, PRIMARY KEY(client, n, part)); CREATE INDEX part_body ON part(md5(body));" || return 1
	RANDOM=@SEED@
	for client in $(seq @CLIENTS@); do pg_client "$client" @TRANSACTIONS@ > /tmp/pg.sql.$client; done
	chown @USER@ "$marks"
}
# What a client sends: each COMMIT has returned before its mark is made.
pg_client() {
	local client=$1 n giver taker low money
	for n in $(seq "$2"); do
		giver=$((RANDOM % @ACCOUNTS@)); taker=$(((giver + 1 + RANDOM % (@ACCOUNTS@ - 1)) % @ACCOUNTS@)); money=$((RANDOM % 100))
		low=$((giver < taker ? giver : taker)) # locked in one order
		echo "BEGIN;"
		echo "INSERT INTO part SELECT $client, $n, p, $client || '.' || $n || '.' || p || ':' || repeat('x', 1 + ($n * 37 + p * 11) % 900) FROM generate_series(0, $n % 5) p;"
		echo "SELECT money FROM account WHERE id = $low FOR UPDATE;"
		echo "UPDATE account SET money = money - $money WHERE id = $giver; UPDATE account SET money = money + $money WHERE id = $taker;"
		echo "INSERT INTO history VALUES($client, $n, $giver, $taker, $money);"
		echo "DELETE FROM part WHERE client = $client AND n <= $((n - @WINDOW@));"
		echo "UPDATE done SET n = $n WHERE client = $client;"
		echo "COMMIT;"
		echo "\\! $load mark $marks '$name pgtxn $client $n'"
		[ $((n % 10)) -eq "$client" ] && echo "CHECKPOINT;"
		[ $((n % 25)) -eq "$client" ] && echo "VACUUM part;"
	done
}
pg_load() {
	local name=$1 client children= result=0
	for client in $(seq @CLIENTS@); do pg_sql -f "/tmp/pg.sql.$client" & children="$children $!"; done
	for client in $children; do wait "$client" || result=1; done
	pg_run pg_ctl -D "/mnt/$name/@DATA@" -w -t 120 -m fast stop >/dev/null || result=1
	[ "$result" = 0 ] || sed 's/^/# /' /tmp/pg.log | tail -n 20
	return $result
}
"""


def folder():
    """Where this machine's newest PostgreSQL has its programs; None: there is none."""
    found = glob.glob("/usr/lib/postgresql/*/bin/postgres")
    if not found:
        return None
    return os.path.dirname(max(found, key=lambda path: int(path.split("/")[4])))


def needs():
    if not folder() or not os.path.exists(os.path.join(folder(), "pg_amcheck")):
        raise Skip("no PostgreSQL (package postgresql-15)")


def guest(seed, transactions):
    script = GUEST
    for key, value in (("BIN", folder()), ("USER", USER), ("DATA", DATA), ("ARCHIVE", ARCHIVE),
                       ("ACCOUNTS", ACCOUNTS), ("CLIENTS", CLIENTS), ("WINDOW", WINDOW),
                       ("SEED", seed), ("TRANSACTIONS", transactions)):
        script = script.replace(f"@{key}@", str(value))
    return script


def take_along(share):
    """This machine's server and client, and the libraries they need, for a guest that has none of
    it: an archive to be unpacked at its root. No compiler for queries, which is 100 MB."""
    version = folder().split("/")[4]
    programs = [os.path.join(folder(), name) for name in ("postgres", "initdb", "psql", "pg_ctl")]
    files = list(programs)
    libraries = glob.glob(f"/usr/lib/postgresql/{version}/lib/*.so")
    files += [path for path in libraries if "llvm" not in path]
    for program in programs + [path for path in files if path.endswith("/amcheck.so")]:
        told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        for path in re.findall(r"=> (/\S+)", told):
            # "/lib" is a link in the guest, too; both names of a library.
            files += [re.sub(r"^/lib/", "/usr/lib/", path),
                      re.sub(r"^/lib/", "/usr/lib/", os.path.realpath(path))]
    files.append(f"/usr/share/postgresql/{version}")
    subprocess.run(["tar", "-c", "-P", "-f", os.path.join(share, ARCHIVE),
                    "--transform", "s,^/,,", "--exclude=*/man", *sorted(set(files))], check=True)


# ---- what must be there ----
class Broken(Exception):
    """Something is not as it was promised."""


def user():
    return {"user": USER, "group": USER, "extra_groups": []}


class Cluster:
    """The server on a cluster that a power loss left, which it recovers."""

    def __init__(self, top):
        self.data = os.path.join(top, DATA)
        self.socket = self.process = None

    def __enter__(self):
        self.socket = tempfile.mkdtemp(prefix="pg-", dir="/tmp")
        os.chown(self.socket, USER, USER)
        with open(f"{self.socket}/log", "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(folder(), "postgres"), "-D", self.data, "-k", self.socket],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", **user())
        end = time.monotonic() + START_LIMIT
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > end:
                log = self.log()
                self.__exit__()
                raise Broken(f"PostgreSQL does not start: {log}")
            time.sleep(0.05)
        return self

    def is_ready(self):
        return subprocess.run([os.path.join(folder(), "pg_isready"), "-q", "-h", self.socket],
                              cwd="/", **user()).returncode == 0

    def __exit__(self, *_):
        """With all that it wrote on disk: what is left is for the file system's checker."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                self.process.send_signal(signal.SIGQUIT)
                self.process.wait()
        shutil.rmtree(self.socket)

    def log(self):
        try:
            with open(f"{self.socket}/log", encoding="utf-8", errors="replace") as file:
                return file.read()[-2000:]
        except FileNotFoundError:
            return ""

    def run(self, program, *words):
        done = subprocess.run([os.path.join(folder(), program), *words], stdin=subprocess.DEVNULL,
                              capture_output=True, text=True, errors="replace", cwd="/",
                              env={"PATH": os.environ["PATH"], "LC_ALL": "C"}, **user())
        if done.returncode:
            raise Broken(f"{program}: status {done.returncode}: "
                         f"{(done.stdout + done.stderr)[-2000:]}")
        return done.stdout

    def rows(self, query):
        text = self.run("psql", "-X", "-A", "-t", "-q", "-h", self.socket, "-U", "postgres",
                        "-v", "ON_ERROR_STOP=1", "-c", query, "postgres")
        return [line.split("|") for line in text.splitlines()]


def look(top, marks):
    """The cluster on a file system that is mounted at @top, against @marks of its name. How many
    transactions it has to have."""
    committed = {}
    for words in marks:
        if words[0] == "pgtxn":
            committed[int(words[1])] = int(words[2])
    if not committed:
        return 0
    with Cluster(top) as cluster:
        try:
            look_at_rows(cluster, committed)
            cluster.run("pg_amcheck", "--heapallindexed", "--parent-check", "-h", cluster.socket,
                        "-U", "postgres", "postgres")
        except Broken as broken:
            raise Broken(f"{broken}\n{cluster.log()}") from None
    return sum(committed.values())


def look_at_rows(cluster, committed):
    done = {int(client): int(n) for client, n in cluster.rows("SELECT * FROM done")}
    if sorted(done) != list(range(1, CLIENTS + 1)):
        raise Broken(f"clients {sorted(done)} are there")
    for client, number in committed.items():
        # The next one may have been committed, and not been said.
        if not number <= done[client] <= number + 1:
            raise Broken(f"client {client}: transaction {number} was committed, {done[client]} is "
                         "the last one")
    money = {number: 1000 for number in range(ACCOUNTS)}
    history = {client: [] for client in done}
    for client, number, giver, taker, much in cluster.rows("SELECT * FROM history ORDER BY n"):
        history[int(client)].append(int(number))
        money[int(giver)] -= int(much)
        money[int(taker)] += int(much)
    for client, numbers in history.items():
        if numbers != list(range(1, done[client] + 1)):
            raise Broken(f"client {client}: of {done[client]} transactions {len(numbers)} are noted")
    accounts = {int(key): int(much) for key, much in cluster.rows("SELECT * FROM account")}
    if accounts != money:
        raise Broken(f"accounts {accounts}, by what is noted {money}")
    parts = [tuple(row) for row in cluster.rows("SELECT * FROM part ORDER BY client, n, part")]
    wanted = [(str(client), str(number), str(part), body(client, number, part))
              for client in sorted(done)
              for number in range(max(1, done[client] - WINDOW + 1), done[client] + 1)
              for part in range(number % 5 + 1)]
    if parts != wanted:
        odd = sorted(set(parts) ^ set(wanted))[:3]
        raise Broken(f"{len(parts)} rows of {len(wanted)}; not as they should be: {odd}")


def body(client, number, part):
    return f"{client}.{number}.{part}:" + "x" * (1 + (number * 37 + part * 11) % 900)

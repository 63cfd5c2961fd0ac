#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=120 engines=one asan
"""The API's groundwork: the OpenAPI document tells the truth, strict bodies, If-Match,
Idempotency-Key, pages, metrics, and provisioning that leaves nothing behind when it fails."""

import json
import os
import re
import sqlite3
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import api  # pylint: disable=wrong-import-position
import nfs41_wire_test as nfs41  # pylint: disable=wrong-import-position
import rpc_client as rpc  # pylint: disable=wrong-import-position
import tap  # pylint: disable=wrong-import-position

V1 = "/api/v1"
HOSTS = ["iqn.2026-11.org.example:one", "10.1.0.0/16"]
TYPES = {"string": str, "integer": int, "boolean": bool, "number": (int, float), "array": list,
         "object": dict}


def matches(schema, value, document, path="$"):
    """What is wrong with @value, as far as the document's few words of JSON Schema go."""
    if "$ref" in schema:
        return matches(document["components"]["schemas"][schema["$ref"].rpartition("/")[2]],
                       value, document, path)
    kinds = schema.get("type", [])
    kinds = kinds if isinstance(kinds, list) else [kinds]
    if kinds and not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return [f"{path} is {type(value).__name__}, not {kinds}"]
    bad = []
    if isinstance(value, dict):
        bad += [f"{path}.{name} is missing" for name in schema.get("required", [])
                if name not in value]
        for name, part in schema.get("properties", {}).items():
            if name in value:
                bad += matches(part, value[name], document, f"{path}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            bad += matches(schema["items"], item, document, f"{path}[{index}]")
    return bad


def references(value):
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref":
                yield part
            else:
                yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def openapi(points, daemon):
    document = daemon.good("GET", f"{V1}/openapi.json")
    routes = daemon.good("GET", f"{V1}/routes")
    told = {(method.upper(), path) for path, methods in document["paths"].items()
            for method in methods}
    points.point(document["openapi"].startswith("3.1") and
                 told == {(route["method"], route["path"]) for route in routes},
                 "the document has each route of the table and no other")
    schemas = document["components"]["schemas"]
    dangling = [name for name in references(document) if name.rpartition("/")[2] not in schemas]
    points.point(not dangling, "its references lead somewhere", dangling)
    ids = [operation["operationId"] for methods in document["paths"].values()
           for operation in methods.values()]
    points.point(len(ids) == len(set(ids)), "operation ids are unique", ids)
    holes = [(method, path) for path, methods in document["paths"].items()
             for method, operation in methods.items()
             if re.findall(r"{(\w+)}", path) != [parameter["name"]
                                                 for parameter in operation["parameters"]
                                                 if parameter["in"] == "path"]]
    points.point(not holes, "path parameters are all declared", holes)
    silent = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            dry = any(one["name"] == "dry_run" for one in operation["parameters"])
            if method != "get" and dry == bool(operation.get("x-no-dry-run")):
                silent.append((method, path))
    points.point(not silent, "each change shows what it would do, or the document says why not",
                 silent)
    shown = [(path, method) for path, methods in document["paths"].items()
             for method, operation in methods.items() if "x-dry-run" in operation]
    points.point(len(shown) == 97 and ("/api/v1/volumes/{pool}/{volume}",
                                       "patch") in shown, "those that are made and changed among them", shown)
    return document


def dry(points, daemon):
    """What is deleted, as it would be; and it is all there afterwards."""
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "dry", "size": "8M"})
    daemon.good("POST", f"{V1}/snapshots", {"snapshots": ["tank/dry@one"]})
    daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": "dry-share"})
    daemon.good("POST", f"{V1}/targets", {"iqn": "iqn.2026-11.org.granary:dry"})
    before = [daemon.good("GET", f"{V1}/{what}") for what in ("volumes", "shares", "targets", "bin")]
    refused = daemon.call("DELETE", f"{V1}/volumes/tank/dry?dry_run=1")
    volume = daemon.good("DELETE", f"{V1}/volumes/tank/dry?to_bin=1&snapshots=1&dry_run=1")
    now = daemon.good("DELETE", f"{V1}/volumes/tank/dry?snapshots=1&dry_run=1")
    share = daemon.good("DELETE", f"{V1}/shares/tank/dry-share?dry_run=1")
    target = daemon.good("DELETE", f"{V1}/targets/iqn.2026-11.org.granary:dry?dry_run=1")
    exported = daemon.good("POST", f"{V1}/pools/tank/export?dry_run=1")
    after = [daemon.good("GET", f"{V1}/{what}") for what in ("volumes", "shares", "targets", "bin")]
    points.point(refused["status"] == 409 and volume["snapshots"] == ["dry@one"] and
                 not volume["for_good"] and volume["undelete_hours"] == 72 and now["for_good"] and
                 share["kind"] == "share" and target["luns"] == [] and target["sessions"] == [] and
                 "dry" in exported["volumes"],
                 "a dry run of a deletion says what would go, and where",
                 [refused, volume, now, share, target, exported])
    points.point(before == after, "and nothing has", [before, after])
    daemon.good("DELETE", f"{V1}/volumes/tank/dry?snapshots=1&to_bin=1")
    one = daemon.good("DELETE", f"{V1}/bin/tank/dry?dry_run=1")["for_good"]
    every = daemon.good("DELETE", f"{V1}/bin/tank?dry_run=1")["for_good"]
    points.point([entry["name"] for entry in one] == ["dry"] and one[0] in every and
                 one[0] in daemon.good("GET", f"{V1}/bin"), "nor from the bin", [one, every])
    said = daemon.granary("share", "delete", "tank/dry-share", "--to-bin",
                          "--dry-run").stdout
    points.point("into the bin for 72 hours" in said and
                 daemon.good("GET", f"{V1}/shares/tank/dry-share"), "the command says it too", said)
    daemon.good("DELETE", f"{V1}/shares/tank/dry-share")
    daemon.good("DELETE", f"{V1}/targets/iqn.2026-11.org.granary:dry")
    daemon.good("DELETE", f"{V1}/bin/tank")


def fields(points, daemon):
    """What a refusal is about, where it is about one member of the body."""
    new = {"pool": "tank", "name": "fields", "size": "64M"}
    daemon.good("POST", f"{V1}/volumes", new)
    path = f"{V1}/volumes/tank/fields"
    for method, where, body, field in (
            ("POST", f"{V1}/volumes", {**new, "name": "f2", "reserve": "65M"}, "reserve"),
            ("POST", f"{V1}/volumes", {**new, "name": "f2", "reserve": "some"}, "reserve"),
            ("POST", f"{V1}/volumes", {**new, "name": "f2", "reserve": "8M", "quota": "4M"}, "quota"),
            ("POST", f"{V1}/volumes", {**new, "name": "f2", "quota": "much"}, "quota"),
            ("PATCH", path, {"reserve": "65M"}, "reserve"),
            ("PATCH", path, {"reserve": "8M", "quota": "4M"}, "quota"),
            ("PATCH", path, {"quota": "1025"}, "quota"),
            ("POST", f"{V1}/volumes", new, None)):
        reply = daemon.call(method, where, body)
        points.point(reply["status"] >= 400 and reply["body"].get("field") == field,
                     f"{method} {body} is refused for its {field}", reply)
    daemon.good("DELETE", path)


def replies_fit(points, daemon, document):
    places = {"{pool}": "tank", "{volume}": "vm1", "{iqn}": "iqn.2026-11.org.granary:vm1"}
    for path, methods in document["paths"].items():
        if "get" not in methods or path == "/metrics":
            continue
        content = methods["get"]["responses"]["200"]["content"]
        if "application/json" not in content:  # a bundle, a file
            points.point(len(content) == 1, f"GET {path} says what it gives", content)
            continue
        real = re.sub(r"{\w+}", lambda match: places.get(match.group(0), "0"), path)
        reply = daemon.call("GET", real)
        schema = content["application/json"]["schema"]
        if reply["status"] == 200:
            bad = matches(schema, reply["body"], document)
            points.point(not bad, f"GET {path} answers what the document says", bad[:5])


def provision(points, daemon, document):
    body = {"purpose": "vm-disks", "name": "vm1", "size": "64M", "hosts": HOSTS}
    reply = daemon.call("POST", f"{V1}/provision", body)
    schema = document["components"]["schemas"]["Provisioned"]
    points.point(reply["status"] == 201 and not matches(schema, reply["body"], document),
                 "POST provision", reply)
    made = reply["body"]
    target = daemon.good("GET", f"{V1}/targets/{made['target']}")
    points.point([rule["initiator"] for rule in target["rules"]] == [HOSTS[0], "any"] and
                 [rule["network"] for rule in target["rules"]] == ["any", HOSTS[1]] and
                 target["luns"][0]["volume"] == "vm1" and target["luns"][0]["state"] == "online",
                 "the target has the LUN and a rule per host", target)
    points.point(made["portals"][0]["port"] == daemon.port and made["hosts"] == HOSTS and
                 re.fullmatch("36[0-9a-f]{31}", made["volume"]["scsi_id"]),
                 "the answer has what a client needs", made)
    result = daemon.granary("provision", "Vm_2", "32M", HOSTS[0], "192.0.2.7", "-o", "json")
    points.point(result.returncode == 0 and
                 json.loads(result.stdout)["target"] == "iqn.2026-11.org.granary:vm-2",
                 "granary provision", result.stdout + result.stderr)
    for what, change, code in (
            ("the name is taken", {}, "volume_exists"),
            ("a host is none", {"name": "vm3", "hosts": ["iqn.UPPER"]}, "bad_host"),
            ("no hosts", {"name": "vm3", "hosts": []}, "bad_host"),
            ("a purpose that is not there", {"name": "vm3", "purpose": "tea"}, "purpose_unknown"),
            ("a pool that is not there", {"name": "vm3", "pool": "lake"}, "pool_not_found"),
            ("no size", {"name": "vm3", "size": 5}, "bad_size")):
        before = state_of(daemon)
        reply = daemon.call("POST", f"{V1}/provision", {**body, **change})
        points.point(400 <= reply["status"] < 500 and reply["body"]["code"] == code and
                     state_of(daemon) == before, f"provision refused: {what}", reply)


def state_of(daemon):
    """What is configured, without what moves by itself."""
    return json.dumps([daemon.good("GET", f"{V1}/volumes"), daemon.good("GET", f"{V1}/targets")])


def rollback(points, daemon):
    """The store can not be written while another process holds it."""
    before = state_of(daemon)
    holder = sqlite3.connect(os.path.join(daemon.state, "config.db"), isolation_level=None)
    holder.execute("begin immediate")
    reply = daemon.call("POST", f"{V1}/provision", {"purpose": "vm-disks", "name": "lost",
                                                    "size": "1M", "hosts": HOSTS})
    holder.execute("rollback")
    holder.close()
    points.point(reply["status"] >= 400 and state_of(daemon) == before,
                 "a provisioning that can not be recorded leaves nothing", reply)
    reply = daemon.call("POST", f"{V1}/provision", {"purpose": "vm-disks", "name": "lost",
                                                    "size": "1M", "hosts": HOSTS})
    points.point(reply["status"] == 201, "and works when it can", reply)


def tags(points, daemon):
    path = f"{V1}/volumes/tank/vm1"
    tag = daemon.call("GET", path)["etag"]
    points.point(re.fullmatch('"[0-9a-f]{16}"', tag), "a volume has an entity tag", tag)
    stale = daemon.call("PATCH", path, {"size": "80M"}, if_match='"0123456789abcdef"')
    points.point(stale["status"] == 412 and stale["body"]["code"] == "stale" and
                 daemon.call("GET", path)["etag"] == tag, "another tag: nothing changes", stale)
    first = daemon.call("PATCH", path, {"size": "80M"}, if_match=tag)
    second = daemon.call("PATCH", path, {"size": "96M"}, if_match=tag)
    points.point(first["status"] == 200 and second["status"] == 412,
                 "of two with one tag the second loses", [first, second])
    gone = daemon.call("DELETE", f"{V1}/volumes/tank/nothing", if_match=tag)
    points.point(gone["status"] == 404, "what is not there is not stale but not there", gone)


def filled(schema):
    """A value of a member's type, and no more sense."""
    kind = schema.get("type") or schema.get("oneOf", schema.get("anyOf", [{}]))[0].get("type")
    return {"string": "x", "integer": 1, "number": 1, "boolean": False, "array": [], "object": {}}[kind]


def stale_tags(points, daemon, document):
    """Whatever has a tag is not changed by who knows another one: each route of what there is."""
    names = {"pool": "tank", "volume": "tagged", "snapshot": "one", "share": "tagged-share", "lun": "0",
             "iqn": "iqn.2026-11.org.granary:tagged", "schedule": "tagged", "channel": "tagged"}
    daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": "tagged", "size": "8M"})
    daemon.good("POST", f"{V1}/snapshots", {"snapshots": ["tank/tagged@one"]})
    daemon.good("POST", f"{V1}/shares", {"pool": "tank", "name": "tagged-share"})
    daemon.good("POST", f"{V1}/targets", {"iqn": names["iqn"]})
    daemon.good("POST", f"{V1}/targets/{names['iqn']}/luns", {"pool": "tank", "volume": "tagged"})
    daemon.good("POST", f"{V1}/snapshot-schedules",
                {"name": "tagged", "volumes": ["tank/tagged"], "every": "daily"})
    daemon.good("POST", f"{V1}/alert-channels", {"name": "tagged", "kind": "webhook", "enabled": False,
                                                 "url": "http://127.0.0.1:1/"})
    tried, wrong = 0, []
    for path, methods in document["paths"].items():
        where = re.sub(r"{(\w+)}", lambda part: names.get(part.group(1), "nothing"), path)
        shown = daemon.call("GET", where) if "get" in methods else {}
        for method in methods if shown.get("etag") else ():
            if method == "get":
                continue
            content = methods[method].get("requestBody", {}).get("content", {})
            schema = content.get("application/json", {}).get("schema", {})
            body = {name: filled(schema["properties"][name]) for name in schema.get("required", ())}
            reply = daemon.call(method.upper(), where, body, if_match='"0123456789abcdef"')
            tried += 1
            if reply["status"] != 412 or reply["body"]["code"] != "stale" or \
                    daemon.call("GET", where).get("etag") != shown["etag"]:
                wrong.append((method, where, reply))
    points.point(tried > 30 and not wrong, f"{tried} routes, each with a tag that is not its own", wrong[:5])
    daemon.good("DELETE", f"{V1}/targets/{names['iqn']}")
    daemon.good("DELETE", f"{V1}/snapshot-schedules/tagged")
    daemon.good("DELETE", f"{V1}/alert-channels/tagged")
    daemon.good("DELETE", f"{V1}/shares/tank/tagged-share")
    daemon.good("DELETE", f"{V1}/volumes/tank/tagged?snapshots=1")


def replays(points, daemon):
    path = f"{V1}/volumes/tank/vm1"
    plan = daemon.call("PATCH", f"{path}?dry_run=1", {"iops": 500}, idempotency_key="k-0")
    done = daemon.call("PATCH", path, {"iops": 500}, idempotency_key="k-0")
    points.point(plan["status"] == 200 and plan["body"]["dry_run"] and done["status"] == 200 and
                 done["body"]["iops_limit"] == 500, "what is tried out uses no key up", [plan, done])
    daemon.good("PATCH", path, {"iops": 0})
    body = {"pool": "tank", "name": "once", "size": "4M"}
    first = daemon.call("POST", f"{V1}/volumes", body, idempotency_key="k-1")
    again = daemon.call("POST", f"{V1}/volumes", body, idempotency_key="k-1")
    points.point(first["status"] == 201 and again == first, "the same key gets the same answer",
                 [first, again])
    other = daemon.call("POST", f"{V1}/volumes", {**body, "size": "8M"}, idempotency_key="k-1")
    points.point(other["status"] == 422 and other["body"]["code"] == "key_reused",
                 "the key with another request is refused", other)
    bad = daemon.call("POST", f"{V1}/volumes", body, idempotency_key="x" * 200)
    points.point(bad["status"] == 400, "a key that is too long is refused", bad)


def pages(points, daemon):
    for number in range(7):
        daemon.good("POST", f"{V1}/volumes", {"pool": "tank", "name": f"p{number}", "size": "1M"})
    everything = [volume["name"] for volume in daemon.good("GET", f"{V1}/volumes")]
    seen, cursor = [], ""
    for _ in range(20):
        reply = daemon.call("GET", f"{V1}/volumes?limit=3" + cursor)
        seen += [volume["name"] for volume in reply["body"]]
        if "next" not in reply:
            break
        cursor = "&cursor=" + reply["next"].replace("/", "%2F")
        if len(seen) == 3:  # what goes away under a reader's hands moves nothing
            daemon.good("DELETE", f"{V1}/volumes/tank/{seen[0]}" if seen[0].startswith("p")
                        else f"{V1}/volumes/tank/once")
    points.point(sorted(set(seen) | {"once"}) == sorted(everything) and
                 len(seen) == len(set(seen)), "pages hold each volume once", [seen, everything])
    for query in ("limit=0", "limit=1001", "limit=x", "limit=-1"):
        reply = daemon.call("GET", f"{V1}/volumes?{query}")
        points.point(reply["status"] == 400, f"?{query} is refused", reply)


def pages_of_clients(points, daemon):
    """NFS clients have no name that is theirs alone; they are paged by their id."""
    port = int(re.search(r"^READY .*nfs=(\d+)", daemon.log(), re.M).group(1))
    with rpc.Connection(port) as connection:
        for owner in (b"one", b"two", b"three"):
            nfs41.Client(connection, owner)
        everything = [client["id"] for client in daemon.good("GET", f"{V1}/nfs-clients")]
        seen, cursor = [], ""
        for _ in range(10):
            reply = daemon.call("GET", f"{V1}/nfs-clients?limit=1" + cursor)
            seen += [client["id"] for client in reply["body"]]
            if "next" not in reply:
                break
            cursor = "&cursor=" + reply["next"].replace("/", "%2F")
    points.point(len(everything) == 3 and seen == sorted(everything),
                 "pages hold each NFS client once", [seen, everything])


def strict(points, daemon):
    for name, data in (
            ("duplicate member", b'{"method":"GET","path":"/api/v1/status","path":"/x"}'),
            ("duplicate in the body", b'{"method":"POST","path":"/api/v1/volumes","body":'
             b'{"pool":"tank","pool":"tank","name":"q","size":1048576}}'),
            ("depth", b'{"method":"GET","path":"/","body":' + b'{"a":' * 40 + b"1" + b"}" * 41),
            ("a huge number", b'{"method":"POST","path":"/api/v1/volumes","body":{"pool":"tank",'
             b'"name":"q","size":123456789012345678901234567890}}'),
            ("an unknown member", b'{"method":"POST","path":"/api/v1/volumes","body":'
             b'{"pool":"tank","name":"q","size":1048576,"color":"red"}}'),
            ("a wrong type", b'{"method":"POST","path":"/api/v1/volumes","body":'
             b'{"pool":["tank"],"name":"q","size":1048576}}'),
            ("a missing member", b'{"method":"POST","path":"/api/v1/volumes","body":{"pool":'
             b'"tank","name":"q"}}')):
        reply = daemon.raw(data)
        body = reply["body"]
        points.point(reply["status"] == 400 and body["status"] == 400 and
                     {"type", "title", "detail", "code"} <= set(body), f"refused: {name}", reply)
    points.point(daemon.call("GET", f"{V1}/volumes/tank/q")["status"] == 404,
                 "and nothing was made")


LINE = re.compile(r'(granary_[a-z_]+)(\{(?:[a-z_]+="[^"\\]*",?)*\})? (\d+(?:\.\d+)?)')


def metrics(points, daemon):
    reply = daemon.call("GET", "/metrics")
    lines = reply["body"].splitlines()
    samples = [line for line in lines if not line.startswith("#")]
    bad = [line for line in samples if not LINE.fullmatch(line)]
    types = dict(line.split()[2:] for line in lines if line.startswith("# TYPE"))
    typed = set(types) | {f"{name}_{part}" for name, kind in types.items() if kind == "histogram"
                          for part in ("bucket", "sum", "count")}
    used = {LINE.fullmatch(line).group(1) for line in samples if LINE.fullmatch(line)}
    points.point(reply["type"].startswith("text/plain; version=0.0.4") and not bad and
                 used <= typed, "metrics are well formed and typed", bad)
    points.point('granary_pool_up{pool="tank"} 1' in samples and
                 'granary_volume_size_bytes{pool="tank",volume="vm1"} 83886080' in samples and
                 'granary_iscsi_sessions{target="iqn.2026-11.org.granary:vm1"} 0' in samples,
                 "they tell what is there", reply["body"][:2000])
    names = [line.split(" ")[0] for line in samples]
    points.point(len(names) == len(set(names)), "no series comes twice")


def test(points):
    with tempfile.TemporaryDirectory() as folder:
        daemon = api.Daemon(os.path.join(folder, "state"))
        try:
            document = openapi(points, daemon)
            dry(points, daemon)
            fields(points, daemon)
            provision(points, daemon, document)
            replies_fit(points, daemon, document)
            rollback(points, daemon)
            tags(points, daemon)
            stale_tags(points, daemon, document)
            replays(points, daemon)
            pages(points, daemon)
            pages_of_clients(points, daemon)
            strict(points, daemon)
            metrics(points, daemon)
        finally:
            status = daemon.stop()
        points.point(status == 0, "clean stop", daemon.log()[-2000:])


if __name__ == "__main__":
    tap.run(test)

#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# granary-test: timeout=30 engines=one
"""Each route of the API is asked for by a page of the web admin, or is named here with the reason
why not. Both are read from their sources: the table of webadmin/route.c, and the calls of
webadmin/ui/src with the paths that they put together."""

import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "guest"))

import tap  # pylint: disable=wrong-import-position

PAGES = os.path.join(ROOT, "webadmin", "ui", "src")
# What the pages call by; a path there is that of whoever calls it.
UNDERNEATH = {"parts.tsx", "would.tsx", "cli.ts", "types.ts", "en.ts", "zh.ts"}
SHARE, BUNDLE, GROUP = "/shares/*/*", "/appliance/update/bundle", "/replica/groups/*"
# What another file hands in, by the name that it has there.
HANDED_IN = {
    "bin.tsx": {"path": ["/volumes/*/*", SHARE]},
    "images.tsx": {"share": [SHARE]},
    "nfs.tsx": {"path": [SHARE]},
    "replication.tsx": {"pathOf": [GROUP]},
    "witness.tsx": {"pathOf": [GROUP]},
    "upload.ts": {"path": [f"{SHARE}/images", BUNDLE], "at": [f"{SHARE}/images/*", BUNDLE]},
}

# One call for more than one route.
BOTH = {"POST /appliance/*": ["POST /appliance/restart", "POST /appliance/poweroff"]}

NOT_YET = "with the command line only so far"
DETAIL = "the list that the pages show has all of it"
PROGRAM = "for programs"
# route: why no page asks for it
LEFT_OUT = {
    "GET /api/v1/routes": PROGRAM,
    "PUT /api/v1/metadata": PROGRAM,
    "POST /api/v1/disks/health": "granary-smart reports with it",
    "POST /api/v1/smb/serve": "granary-smb asks with it",
    "POST /api/v1/bin/{pool}/{id}/give-up": "the daemon does it itself",
    "POST /api/v1/volumes/{pool}/{volume}/snapshots/{snapshot}/give-up": "the daemon does it itself",
    "GET /api/v1/pools/{pool}/usage": "the pool that the pages show has when it will be full",
    "GET /api/v1/pools/{pool}/scrub": "the pool that the pages show has it",
    "GET /api/v1/snapshot-schedules/{schedule}": DETAIL,
    "GET /api/v1/alerts/{id}": DETAIL,
    "GET /api/v1/alert-channels/{channel}": DETAIL,
    "GET /api/v1/hosts/{host}": DETAIL,
    "GET /api/v1/targets/{iqn}/rules": "the target that the pages show has them",
    "GET /api/v1/targets/{iqn}/luns": "the target that the pages show has them",
    "GET /api/v1/replica/groups/{group}": DETAIL,
    "POST /api/v1/pools/{pool}/check": NOT_YET,
    "POST /api/v1/pools/check": NOT_YET,
    "POST /api/v1/disks/prove": NOT_YET,
    "POST /api/v1/shares/import": NOT_YET,
    "POST /api/v1/shares/{pool}/{share}/check": NOT_YET,
    "POST /api/v1/shares/{pool}/{share}/restore": NOT_YET,
    "GET /api/v1/nfs-operations": NOT_YET,
    "PATCH /api/v1/targets/{iqn}": NOT_YET,
    "GET /api/v1/targets/{iqn}/groups": NOT_YET,
    "PATCH /api/v1/targets/{iqn}/groups/{group}": NOT_YET,
    "PATCH /api/v1/targets/{iqn}/luns/{lun}": NOT_YET,
    "POST /api/v1/targets/{iqn}/luns/{lun}/check": NOT_YET,
    "GET /api/v1/replica/key": NOT_YET,
    "POST /api/v1/replica/key": NOT_YET,
    "DELETE /api/v1/replica/key/next": NOT_YET,
    "GET /api/v1/replica/leases": NOT_YET,
}

ROW = re.compile(r'\{"(GET|POST|PUT|PATCH|DELETE)", (V1 )?"([^"]+)"')
HOLE = r"\$\{[^{}]*(?:\{[^{}]*\}[^{}]*)*\}"
ROUND = r"\((?:[^()]|\((?:[^()]|\([^()]*\))*\))*\)"
TYPE = r"(?:<(?:[^<>()]|<[^<>]*>)*>)?"
# A path: a text, or what has one by a name, as path, one.path or pathOf(one).
PATH = rf'(?:"[^"\n]*"|`(?:{HOLE}|[^`$])*`|[A-Za-z][\w.]*(?:{ROUND})?)'
CHANGES = re.compile(rf'"(GET|POST|PUT|PATCH|DELETE)", ({PATH})')
# Of "asks ? PATH : null" the path is what is wanted.
ASKS = re.compile(r"\b(useResource|get|getTagged|getWhole|bytesFrom|download|useLatency)"
                  rf"{TYPE}\((?:[^`\"(),?]*{ROUND}? \? |[\w.]+ \? )?({PATH})")
SENDS = re.compile(rf"\bsendBytes\(({PATH})")
SHOWS = re.compile(rf"<LatencyChart path=\{{({PATH})\}}")
LINKS = re.compile(r'href="(?:/api/v1)?(/[^"#]+)"')
# What is in a name, by a declaration.
NAMED = re.compile(rf"\b(\w+)(?: = )(?:\([^()]*\) => )?({PATH})")


def routes():
    with open(os.path.join(ROOT, "webadmin", "route.c"), encoding="utf-8") as file:
        return [f"{method} {'/api/v1' if v1 else ''}{path}"
                for method, v1, path in ROW.findall(file.read())]


def sources():
    for folder, _, names in os.walk(PAGES):
        for name in names:
            if name.endswith((".ts", ".tsx")) and name not in UNDERNEATH:
                with open(os.path.join(folder, name), encoding="utf-8") as file:
                    yield name, file.read()


def named(text):
    """{name: expressions} of a source."""
    found = {}
    for name, path in NAMED.findall(text):
        found.setdefault(name, set()).add(path)
    return found


def paths_of(expression, names, seen=()):
    """What @expression can be: paths with a star for what is put in."""
    if expression[0] in '"`':
        return paths_of_text(expression[1:-1], names, seen)
    name = re.sub(r"\(.*", "", expression, flags=re.DOTALL).rsplit(".", 1)[-1]
    if name in seen:
        return set()
    return {path for one in names.get(name, ()) for path in paths_of(one, names, (*seen, name))}


def paths_of_text(text, names, seen):
    start = re.match(HOLE, text)
    rest = re.sub(HOLE, "*", text[start.end():] if start else text).split("?")[0]
    rest = re.sub(r"(?<!/)\*", "", rest)  # a query that is put together
    if start:
        return {path + rest for path in paths_of(start.group()[2:-1], names, seen)}
    return {rest} if rest.startswith("/") else set()


def calls_of(text):
    """Method and path of each call in @text, the path as it is written there."""
    calls = CHANGES.findall(text)
    calls += [("GET", path) for _, path in ASKS.findall(text)]
    calls += [("GET", path) for path in SHOWS.findall(text)]
    calls += [("GET", f'"{path}"') for path in LINKS.findall(text)]
    calls += [("GET", "\"/events\"")] if "EventSource(" in text else []
    return calls + [("PUT", path) for path in SENDS.findall(text)]


def asked():
    """METHOD and path of all that the pages ask for."""
    found = set()
    for name, text in sources():
        names = named(text)
        for other, paths in HANDED_IN.get(name, {}).items():
            names.setdefault(other, set()).update(f'"{path}"' for path in paths)
        for method, expression in calls_of(text):
            for path in paths_of(expression, names):
                call = f"{method} {path}"
                found.update(BOTH.get(call, [call]))
    return found


def as_asked(route):
    """What a page asks for to have @route."""
    method, path = route.split(" ", 1)
    return f"{method} " + re.sub(r"\{\w+\}", "*", path.removeprefix("/api/v1"))


def test(points):
    table, calls = routes(), asked()
    points.point(len(table) > 200, "the table of routes is read", len(table))
    points.point(len(calls) > 100, "so are the calls of the pages", sorted(calls))
    used = {route for route in table if as_asked(route) in calls}
    lacking = [route for route in table if route not in used and route not in LEFT_OUT]
    points.point(not lacking, "each route has a page, or a reason why it has none",
                 "\n".join(lacking))
    needless = sorted(used & set(LEFT_OUT))
    points.point(not needless, "what is left out is asked for by no page", "\n".join(needless))
    gone = sorted(set(LEFT_OUT) - set(table))
    points.point(not gone, "what is left out is in the table", "\n".join(gone))


if __name__ == "__main__":
    tap.run(test)

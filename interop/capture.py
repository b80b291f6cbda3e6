"""Record golden bytes: drive Apache ZooKeeper with `wire` and keep every frame.

    python3 interop/capture.py [DIRECTORY]

writes DIRECTORY/<area>.txt (lines `name.request`, `name.reply`, `name.event`, each a
whole frame in hex, length prefix included) and DIRECTORY/files/ (small transaction logs
and snapshots, plain, gz and snappy). The bytes of one run are checked in: session ids and
times differ from run to run, everything else does not.
"""

import glob
import os
import shutil
import sys

import apache
import tree
import wire
from apache import Apache
from wire import (CONTAINER, CREATOR, EPHEMERAL, EPHEMERAL_SEQUENTIAL, OPEN, PERSISTENT, READ_ONLY, SEQUENTIAL, TTL,
                  TTL_SEQUENTIAL, Client, Closed, Connection)

CONFIG = {"DigestAuthenticationProvider.superDigest": wire.digest_id(tree.SUPER), "snapCount": "100000"}


class Area:
    """One text file of named frames."""

    def __init__(self, name, about):
        self.name = name
        self.lines = ["# %s" % about, "# Apache ZooKeeper 3.8.0; whole frames in hex, length prefix included."]
        self.counts = {}
        self.step = None

    def trace(self, direction, whole):
        if self.step is None:
            return
        kind = "request" if direction == ">" else "reply"
        if direction == "<" and whole[4:8] == b"\xff\xff\xff\xff":
            kind = "event"
        key = "%s.%s" % (self.step, kind)
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] > 1:
            key += "-%d" % self.counts[key]
        self.lines.append("%s: %s" % (key, whole.hex()))

    def note(self, text):
        self.lines.append("# " + text)

    def write(self, directory):
        with open(os.path.join(directory, self.name + ".txt"), "w") as out:
            out.write("\n".join(self.lines) + "\n")


class Tape:
    """A client whose frames go to an area under the name of the step."""

    def __init__(self, area, address, **options):
        self.area = area
        self.client = Client(address, trace=area.trace, **options)

    def __call__(self, step, operation, *values, xid=None, note=None):
        if note:
            self.area.note(note)
        self.area.step = step
        try:
            return self.client.call(operation, *values, xid=xid)
        except Closed:
            self.area.note("the server closed the connection")
        finally:
            self.area.step = None

    def events(self, step):
        """Frames that wait for this client, then a ping that is not recorded."""
        self.area.step = step
        trace, self.client.trace = self.client.trace, self.only_events
        try:
            return self.client.take_events()
        finally:
            self.client.trace = trace
            self.area.step = None

    def only_events(self, direction, whole):
        if direction == "<" and whole[4:8] == b"\xff\xff\xff\xff":
            self.area.trace(direction, whole)


def connect(server):
    area = Area("connect", "Handshake, ping, closeSession.")

    def handshake(step, **options):
        area.step = step
        try:
            return Client(server.address, trace=area.trace, **options)
        except Closed:
            area.note("the server closed the connection")
        finally:
            area.step = None

    first = handshake("new-session", timeout=10000)
    handshake("new-session-without-read-only-byte", timeout=1, read_only=None)
    handshake("new-session-read-only-asked", timeout=600001, read_only=True)
    handshake("new-session-empty-password", password=b"")
    handshake("new-session-null-password", password=None)
    handshake("new-session-short-password", password=b"abc")
    handshake("unknown-session", session=0x1234)
    handshake("unknown-session-without-read-only-byte", session=0x1234, read_only=None)
    handshake("wrong-password", session=first.session, password=b"0123456789abcdef")
    again = handshake("reconnect", session=first.session, password=first.password, timeout=12000)
    handshake("zxid-ahead", last_zxid=1 << 40)
    tape = Tape(area, server.address)
    tape("ping", "ping")
    tape("who-am-i", "whoAmI")
    tape("sync", "sync", "/")
    tape("close-session", "closeSession")
    again.close()
    return area


def create(server):
    area = Area("create", "create, create2, createContainer, createTTL.")
    tape = Tape(area, server.address)
    for name, flags in (("persistent", PERSISTENT), ("ephemeral", EPHEMERAL), ("sequential", SEQUENTIAL),
                        ("ephemeral-sequential", EPHEMERAL_SEQUENTIAL), ("container-flags", CONTAINER)):
        for operation in ("create", "create2"):
            tape("%s-%s" % (operation, name), operation, "/%s-%s" % (operation, name), b"data", OPEN, flags)
    tape("create-null-data", "create", "/null", None, OPEN, 0)
    tape("create-empty-data", "create", "/empty", b"", OPEN, 0)
    tape("create-binary-data", "create", "/binary", bytes(range(256)), OPEN, 0)
    tape("create-utf8-path", "create", "/\u00fcber-\u65e5\u672c", b"", OPEN, 0)
    tape("create-two-acls", "create", "/acls", b"", READ_ONLY + [(31, "ip", "127.0.0.1")], 0)
    tape("create-sequential-at-slash", "create", "/acls/", b"", OPEN, SEQUENTIAL)
    tape("create-container", "createContainer", "/container", b"c", OPEN, CONTAINER)
    tape("create-container-child", "create2", "/container/child", b"", OPEN, 0)
    tape("create-container-wrong-flags", "createContainer", "/container2", b"c", OPEN, PERSISTENT)
    tape("create-ttl", "createTTL", "/ttl", b"t", OPEN, TTL, 60000)
    tape("create-ttl-sequential", "createTTL", "/ttl-", b"t", OPEN, TTL_SEQUENTIAL, 60000)
    tape("create-ttl-longest", "createTTL", "/ttl-longest", b"t", OPEN, TTL, 0xffffffffff)
    tape("create-ttl-too-long", "createTTL", "/ttl-too-long", b"t", OPEN, TTL, 0x10000000000)
    tape("create-ttl-zero", "createTTL", "/ttl-zero", b"t", OPEN, TTL, 0)
    tape("create-ttl-wrong-flags", "createTTL", "/ttl-flags", b"t", OPEN, PERSISTENT, 1000)
    tape("create-ttl-flags-in-create", "create", "/ttl-create", b"t", OPEN, TTL)
    return area


def data(server):
    area = Area("data", "exists, getData, setData, delete, getChildren, counts, ephemerals.")
    tape = Tape(area, server.address)
    tape.client.ok("create", "/data", b"one", OPEN, 0)
    tape.client.ok("create", "/data/child", None, OPEN, 0)
    tape.client.ok("create", "/data/mine", b"", OPEN, EPHEMERAL)
    tape("exists", "exists", "/data", False)
    tape("get-data", "getData", "/data", False)
    tape("get-data-null", "getData", "/data/child", False)
    tape("get-data-empty", "getData", "/", False)
    tape("get-children", "getChildren", "/data", False)
    tape("get-children-none", "getChildren", "/data/child", False)
    tape("get-children2", "getChildren2", "/data", False)
    tape("set-data", "setData", "/data", b"two", 0)
    tape("set-data-any-version", "setData", "/data", b"three", -1)
    tape("set-data-null", "setData", "/data", None, -1)
    tape("get-ephemerals-all", "getEphemerals", "/")
    tape("get-ephemerals-prefix", "getEphemerals", "/data/m")
    tape("get-ephemerals-none", "getEphemerals", "/nothing")
    tape("get-ephemerals-null", "getEphemerals", None)
    tape("get-all-children-number", "getAllChildrenNumber", "/data")
    tape("get-all-children-number-root", "getAllChildrenNumber", "/")
    tape("sync", "sync", "/data")
    tape("sync-missing", "sync", "/nosuch")
    tape("delete", "delete", "/data/child", 0)
    tape("delete-any-version", "delete", "/data/mine", -1)
    tape("get-zookeeper", "getChildren2", "/zookeeper", False)
    tape("get-config", "getData", "/zookeeper/config", False)
    return area


def acl(server):
    area = Area("acl", "auth, getACL, setACL, whoAmI.")
    tape = Tape(area, server.address)
    tape("who-am-i", "whoAmI")
    tape("auth-digest", "auth", 0, "digest", b"bob:builder")
    tape("auth-digest-second", "auth", 0, "digest", b"alice:wonder")
    tape("who-am-i-digest", "whoAmI")
    tape("create-auth-acl", "create", "/mine", b"secret", CREATOR, 0)
    tape("create-ip-acl", "create", "/local", b"", [(31, "ip", "127.0.0.0/8")], 0)
    tape("get-acl", "getACL", "/mine")
    tape("get-acl-root", "getACL", "/")
    tape("get-acl-config", "getACL", "/zookeeper/config")
    other = Tape(area, server.address)
    other("get-data-no-auth", "getData", "/mine", False)
    other("set-data-no-auth", "setData", "/mine", b"", -1)
    other("exists-no-auth", "exists", "/mine", False)
    other("get-acl-no-auth", "getACL", "/mine")
    tape("set-acl", "setACL", "/mine", OPEN + [(31, "digest", wire.digest_id("bob:builder"))], 0)
    other("get-acl-masked", "getACL", "/local")
    tape("set-acl-readers", "setACL", "/mine", READ_ONLY + [(31, "digest", wire.digest_id("bob:builder"))], 1)
    other("get-acl-masked-digest", "getACL", "/mine")
    tape("set-acl-duplicates", "setACL", "/mine", READ_ONLY + READ_ONLY + OPEN, -1)
    tape("set-acl-bad-version", "setACL", "/mine", OPEN, 77)
    tape("set-acl-empty", "setACL", "/mine", [], -1)
    tape("set-acl-null", "setACL", "/mine", None, -1)
    tape("set-acl-unknown-scheme", "setACL", "/mine", [(31, "nosuch", "x")], -1)
    tape("set-acl-bad-digest", "setACL", "/mine", [(31, "digest", "nocolon")], -1)
    tape("set-acl-bad-ip", "setACL", "/mine", [(31, "ip", "999.1.1.1")], -1)
    other("set-acl-auth-without-auth", "setACL", "/mine", CREATOR, -1)
    tape("auth-super", "auth", 0, "digest", tree.SUPER.encode())
    tape("who-am-i-super", "whoAmI")
    other("auth-ip", "auth", 0, "ip", b"")
    Tape(area, server.address)("auth-unknown-scheme", "auth", 0, "nosuch", b"x")
    Tape(area, server.address)("auth-digest-no-colon", "auth", 0, "digest", b"nocolon")
    return area


def multi(server):
    area = Area("multi", "multi and multiRead.")
    tape = Tape(area, server.address)
    tape.client.ok("create", "/m", b"root", OPEN, 0)
    tape("multi-empty", "multi", [])
    tape("multi-create", "multi", [("create", "/m/a", b"1", OPEN, 0)])
    tape("multi-all-kinds", "multi", [
        ("check", "/m", 0), ("create", "/m/b", b"2", OPEN, 0), ("create", "/m/s-", b"", OPEN, SEQUENTIAL),
        ("create", "/m/e", None, OPEN, EPHEMERAL), ("setData", "/m/a", b"3", 0), ("delete", "/m/b", 0)])
    tape("multi-container-ttl", "multi", [
        ("createContainer", "/m/c", b"", OPEN, CONTAINER), ("createTTL", "/m/t", b"", OPEN, TTL, 60000)])
    tape("multi-create2", "multi", [("create2", "/m/c2", b"", OPEN, 0)],
         note="3.8.0 answers create2 as create; 3.9 answers type 15 with a Stat")
    tape("multi-fails-first", "multi", [("check", "/m", 5), ("create", "/m/x", b"", OPEN, 0)])
    tape("multi-fails-middle", "multi", [
        ("create", "/m/x", b"", OPEN, 0), ("delete", "/m/nosuch", -1), ("setData", "/m/a", b"", -1)])
    tape("multi-fails-last", "multi", [("create", "/m/x", b"", OPEN, 0), ("create", "/m/x", b"", OPEN, 0)])
    tape("multi-delete-and-create-again", "multi", [
        ("delete", "/m/a", -1), ("create", "/m/a", b"again", OPEN, 0), ("setData", "/m/a", b"more", 0)])
    tape("multi-read", "multiRead", [("getData", "/m/a", False), ("getChildren", "/m", True)])
    tape("multi-read-errors", "multiRead", [
        ("getData", "/m/nosuch", False), ("getChildren", "/m/nosuch", False), ("getData", "/m", False)])
    tape("multi-read-empty", "multiRead", [])
    tape("multi-reads-and-writes", "multi", [("getData", "/m/a", False), ("delete", "/m/a", -1)])
    tape("multi-read-with-write", "multiRead", [("getData", "/m/a", False), ("delete", "/m/a", -1)])
    return area


def watches(server):
    area = Area("watches", "Watches, setWatches, addWatch, removeWatches, checkWatches, and their events.")
    tape, other = Tape(area, server.address), Client(server.address)
    other.ok("create", "/w", b"", OPEN, 0)
    other.ok("create", "/w/k", b"", OPEN, 0)
    tape("get-data-watch", "getData", "/w", True)
    other.ok("setData", "/w", b"1", -1)
    tape.events("data-changed")
    tape("exists-watch-missing", "exists", "/w/new", True)
    tape("get-children-watch", "getChildren", "/w", True)
    other.ok("create", "/w/new", b"", OPEN, 0)
    tape.events("created-and-children")
    tape("get-data-watch-child", "getData", "/w/k", True)
    tape("get-children-watch-child", "getChildren2", "/w/k", True)
    other.ok("delete", "/w/k", -1)
    tape.events("deleted-once")
    tape("add-watch-persistent", "addWatch", "/w", 0)
    other.ok("create", "/w/k", b"", OPEN, 0)
    other.ok("setData", "/w", b"2", -1)
    tape.events("persistent")
    recursive = Tape(area, server.address)
    recursive("add-watch-recursive", "addWatch", "/w", 1)
    other.ok("create", "/w/k/deep", b"", OPEN, 0)
    other.ok("setData", "/w/k/deep", b"2", -1)
    other.ok("delete", "/w/k/deep", -1)
    recursive.events("recursive")
    recursive("add-watch-bad-mode", "addWatch", "/w", 7)
    tape("check-watches-any", "checkWatches", "/w", 3)
    tape("check-watches-none", "checkWatches", "/nosuch", 3)
    tape("remove-watches-any", "removeWatches", "/w", 3)
    tape("remove-watches-none", "removeWatches", "/w", 3)
    tape("get-data-watch-again", "getData", "/w", True)
    tape("remove-watches-data", "removeWatches", "/w", 2)
    tape("get-children-watch-again", "getChildren", "/w", True)
    tape("remove-watches-children", "removeWatches", "/w", 1)
    tape("remove-watches-bad-type", "removeWatches", "/w", 9)
    tape("remove-watches-persistent", "removeWatches", "/w", 4, note="a type of 3.9")
    late = Tape(area, server.address)
    late("set-watches", "setWatches", 0, ["/w", "/gone"], ["/w", "/not-yet"], ["/w", "/gone"])
    late("set-watches-future", "setWatches", 1 << 40, ["/w"], ["/not-yet"], ["/w"])
    late("set-watches-empty", "setWatches", 1, [], [], [])
    late("set-watches2", "setWatches2", 1, ["/w"], [], [], ["/w/p"], ["/w/r"])
    other.ok("create", "/w/p", b"", OPEN, 0)
    other.ok("create", "/w/r", b"", OPEN, 0)
    late.events("set-watches2-events")
    owner = Client(server.address)
    owner.ok("create", "/w/eph", b"", OPEN, EPHEMERAL)
    tape("exists-watch-ephemeral", "exists", "/w/eph", True)
    owner.call("closeSession")
    tape.events("ephemeral-gone")
    tape("get-data-watch-own", "getData", "/w", True)
    tape("set-data-own", "setData", "/w", b"own", -1)
    return area


def errors(server):
    area = Area("errors", "Every error code a standalone server answers, and what ends a connection.")
    tape = Tape(area, server.address)
    tape.client.ok("create", "/e", b"", OPEN, 0)
    tape.client.ok("create", "/e/k", b"", OPEN, 0)
    tape.client.ok("create", "/eph", b"", OPEN, EPHEMERAL)
    tape("no-node-get", "getData", "/nosuch", False)
    tape("no-node-children", "getChildren", "/nosuch", False)
    tape("no-node-exists", "exists", "/nosuch", False)
    tape("no-node-set", "setData", "/nosuch", b"", -1)
    tape("no-node-delete", "delete", "/nosuch", -1)
    tape("no-node-parent", "create", "/nosuch/a", b"", OPEN, 0)
    tape("no-node-acl", "getACL", "/nosuch")
    tape("no-node-count", "getAllChildrenNumber", "/nosuch")
    tape("node-exists", "create", "/e", b"", OPEN, 0)
    tape("not-empty", "delete", "/e", -1)
    tape("bad-version-set", "setData", "/e", b"", 9)
    tape("bad-version-delete", "delete", "/e/k", 9)
    tape("no-children-for-ephemerals", "create", "/eph/a", b"", OPEN, 0)
    tape("invalid-acl-empty", "create", "/bad", b"", [], 0)
    tape("invalid-acl-null", "create", "/bad", b"", None, 0)
    tape("bad-flags", "create", "/bad", b"", OPEN, 9)
    tape("delete-root", "delete", "/", -1)
    tape("delete-zookeeper", "delete", "/zookeeper", -1)
    for name, path in (("empty", ""), ("relative", "a"), ("trailing-slash", "/e/"), ("double-slash", "//e"),
                       ("dot", "/e/."), ("dot-dot", "/e/.."), ("nul", "/e/\0"), ("control", "/e/\x01"),
                       ("delete-character", "/e/\x7f"), ("private-use", "/e/\ue000"), ("special", "/e/\ufff0"),
                       ("null", None)):
        tape("create-path-" + name, "create", path, b"", OPEN, 0)
        tape("exists-path-" + name, "exists", path, False)
    tape("reconfig", "reconfig", None, None, "", -1)
    tape("create-truncated", 1, wire.pack("s", "/trunc"))
    tape("get-data-truncated", 4, wire.pack("i", 50))
    tape("multi-truncated", 14, wire.pack_record(wire.MULTI_HEADER, [1, False, -1]))
    tape("multi-nested", 14, wire.pack_record(wire.MULTI_HEADER, [14, False, -1]) + wire.multi_body([]))
    tape("set-data-trailing-bytes", 5, wire.pack_record(wire.OPERATIONS["setData"][1], ["/e", b"t", -1]) + b"junk")
    tape("sasl", "sasl", b"token")
    for name, code in (("unknown-opcode", 77), ("notification-opcode", 0), ("negative-opcode", -5),
                       ("error-opcode", -1)):
        victim = Tape(area, server.address)
        victim(name, code, b"")
    return area


AREAS = (connect, create, data, acl, multi, watches, errors)


def files(directory):
    """A small log with every kind of transaction, and snapshots of its result three ways."""
    os.makedirs(directory, exist_ok=True)
    with Apache(CONFIG, {"znode.container.checkIntervalMs": "300"}) as server:
        write_every_kind(server.start())
        server.kill()
        written = os.path.join(server.data, "version-2")
        for path in glob.glob(os.path.join(written, "log.*")):
            shutil.copy(path, directory)
        for method in ("gz", "snappy", ""):
            # A start writes a snapshot of what it restored.
            with Apache(dict(CONFIG, **{"snapshot.compression.method": method or None})) as reader:
                shutil.copytree(written, os.path.join(reader.data, "version-2"))
                reader.start()
                snapshots = glob.glob(os.path.join(reader.data, "version-2", "snapshot.*"))
                newest = max(snapshots, key=lambda path: int(os.path.basename(path).split(".")[1], 16))
                shutil.copy(newest, directory)
                if not method:
                    with open(os.path.join(directory, "tree.json"), "w") as out:
                        out.write(tree.dump(tree.walk_as_super(reader.address)))


def write_every_kind(server):
    """Leaves one transaction of every type in the log, and one session alive."""
    client, closing = Client(server.address, timeout=600000), Client(server.address, timeout=4000)
    client.ok("auth", 0, "digest", b"bob:builder")
    client.ok("create", "/node", b"data", OPEN, 0)
    client.ok("create2", "/node/sequential-", b"", OPEN, SEQUENTIAL)
    client.ok("create", "/node/null", None, CREATOR, 0)
    client.ok("create", "/ephemeral", b"e", OPEN, EPHEMERAL)
    client.ok("createContainer", "/container", b"c", OPEN, CONTAINER)
    client.ok("createTTL", "/ttl", b"t", OPEN, TTL, 3600000)
    client.ok("createContainer", "/reaped", b"", OPEN, CONTAINER)
    client.ok("create", "/reaped/child", b"", OPEN, 0)
    client.call("exists", "/reaped", True)
    client.ok("delete", "/reaped/child", -1)
    # Before anything else is asked: when it is reaped is the server's own time.
    while not any(event["path"] == "/reaped" and event["type"] == wire.DELETED_EVENT for event in client.events):
        client.recv_event()
    client.ok("setData", "/node", b"changed", 0)
    client.ok("setACL", "/node", READ_ONLY + [(31, "digest", wire.digest_id("bob:builder"))], 0)
    client.call("setData", "/node", b"", 7)
    client.ok("multi", [("check", "/node", 1), ("create", "/node/m", b"m", OPEN, 0), ("setData", "/node/m", b"n", 0),
                        ("create", "/node/gone", b"", OPEN, 0), ("delete", "/node/gone", -1),
                        ("createContainer", "/node/c", b"", OPEN, CONTAINER),
                        ("createTTL", "/node/t", b"", OPEN, TTL, 3600000)])
    client.ok("multi", [("create", "/node/x", b"", OPEN, 0), ("check", "/node", 9), ("delete", "/node/m", -1)])
    closing.ok("create", "/closing", b"", OPEN, EPHEMERAL)
    closing.ok("closeSession")
    client.close()


def main(directory):
    reason = apache.missing()
    if reason:
        raise SystemExit(reason)
    os.makedirs(directory, exist_ok=True)
    for area in AREAS:
        # A server each, so that an area's bytes do not depend on the others.
        with Apache(CONFIG) as server:
            area(server.start()).write(directory)
    files(os.path.join(directory, "files"))


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "zk-core", "testdata", "golden"))

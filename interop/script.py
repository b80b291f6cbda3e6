"""Seeded random scripts: lists of steps that say what to do, never what to expect.

A step is a tuple (number, verb, session, arguments...):
  open     a new session with this timeout           open    S timeout
  reopen   a new connection to the session           reopen  S set_watches
  drop     close the TCP connection, keep the session
  call     one request                               call    S operation values...
  raw      an opcode with these body bytes           raw     S opcode body
  burst    several requests in one write             burst   S [(operation, values...)]
Sessions are small numbers. A path may be ("made", n): what step n's reply named.
Dropping steps from a script leaves a valid script, so failures can be shrunk.
"""

import random

import wire
from wire import CREATOR, OPEN, READ_ONLY

BOB, ALICE = "bob:builder", "alice:wonder"
SESSIONS = 4
NAMES = ("a", "b", "c")

ACLS = [
    OPEN,
    READ_ONLY,
    CREATOR,
    [(31, "digest", wire.digest_id(BOB))],
    [(31, "digest", wire.digest_id(ALICE)), (1, "world", "anyone")],
    [(30, "world", "anyone")],  # everything but READ
    [(15, "world", "anyone")],  # everything but ADMIN
    [(21, "world", "anyone"), (2, "digest", wire.digest_id(BOB))],
    [(31, "ip", "127.0.0.1")],
    [(31, "ip", "10.0.0.0/8"), (1, "world", "anyone")],
    [(31, "ip", "127.0.0.0/8"), (31, "ip", "127.0.0.0/8")],
    [(0, "world", "anyone")],
    [(63, "world", "anyone")],
]
BAD_ACLS = [
    [], None,
    [(31, "nosuch", "x")],
    [(31, "world", "somebody")],
    [(31, "digest", "nocolon")],
    [(31, "digest", "a:b:c")],
    [(31, "ip", "300.0.0.1")],
    [(31, "ip", "10.0.0.0/33")],
    [(31, "ip", "name")],
    [(31, "", "")],
    [(31, None, "x")],
    [(31, "world", None)],
]
# Appended to the script's root, or used alone if they do not start with a slash.
ODD_PATHS = ["/", "//a", "/a//b", "/.", "/..", "/a/.", "/a/../b", "/\0", "/\x01", "/\x1f", "/\x7f", "/\x9f",
             "/\ud7ff", "/\ue000", "/\uf8ff", "/\uf900", "/\uffef", "/\ufff0", "/\ufffd", "/.a", "/...", "/a b",
             "/\u00a0", "/\u65e5\u672c", "/" + "x" * 300, "relative", "", "*"]
RESERVED = ["/", "/zookeeper", "/zookeeper/config", "/zookeeper/quota", "/zookeeper/nosuch"]
DATA = [None, b"", b"x", b"some data", bytes(range(256)), b"y" * 3000]

# Opcodes that read one ustring first, with bodies that stop short.
BODIED = ["create", "delete", "exists", "getData", "setData", "getACL", "setACL", "getChildren", "sync",
          "getChildren2", "create2", "checkWatches", "removeWatches", "createContainer", "createTTL",
          "setWatches", "setWatches2", "getEphemerals", "getAllChildrenNumber", "addWatch", "multi", "multiRead"]
UNKNOWN_OPCODES = [0, 10, 23, 77, 99, 108, 1000, -1, -2, -12, 2147483647, -2147483648]


class Script:
    """The steps of one seed. `root` is the node they all work under."""

    def __init__(self, seed, length):
        self.seed = seed
        self.root = "/d%d" % seed
        self.random = random.Random(seed)
        self.steps = []
        self.made = []
        self.quotas = False
        self.likely = [self.root]  # paths that some create asked for
        self.add("open", 0, 30000)
        self.add("call", 0, "create", self.root, b"root", OPEN, wire.PERSISTENT)
        for session in range(1, SESSIONS):
            self.add("open", session, self.random.choice([4000, 30000, 0, -5, 10 ** 9]) if session > 1 else 30000)
        while len(self.steps) < length:
            self.step()

    def add(self, *step):
        self.steps.append((len(self.steps),) + step)

    def chance(self, share):
        return self.random.random() < share

    # Pieces of requests.
    def path(self, odd=0.04):
        if self.chance(odd):
            path = self.random.choice(ODD_PATHS)
            return self.root + path if path.startswith("/") else path
        if self.chance(0.02):
            return self.random.choice(RESERVED)
        if self.made and self.chance(0.12):
            return ("made", self.random.choice(self.made))
        if self.chance(0.75):
            return self.random.choice(self.likely[-12:])
        depth = self.random.choice((0, 1, 1, 1, 1, 2, 2, 3))
        return self.root + "".join("/" + self.random.choice(NAMES) for _ in range(depth))

    def new_path(self):
        """Mostly a child of a path that probably exists."""
        if self.chance(0.2):
            return self.path()
        path = self.random.choice(self.likely[-8:]) + "/" + self.random.choice(NAMES)
        if path.count("/") > 4:
            path = self.root + "/" + self.random.choice(NAMES)
        self.likely.append(path)
        return path

    def data(self):
        return self.random.choice(DATA)

    def acl(self):
        if self.chance(0.65):
            return OPEN
        return self.random.choice(BAD_ACLS) if self.chance(0.08) else self.random.choice(ACLS)

    def version(self):
        return self.random.choice((-1, -1, -1, -1, 0, 0, 1, 2, 7, -2))

    def create(self, inside_multi, names=("create", "create", "create2", "createContainer", "createTTL")):
        name = self.random.choice(names)
        path, data, acl = self.new_path(), self.data(), self.acl()
        if name == "createContainer":
            # In a multi Apache goes by the flags alone, elsewhere by the operation.
            return name, path, data, acl, 4 if inside_multi else self.random.choice((4, 4, 4, 4, 0))
        if name == "createTTL":
            ttl = self.random.choice((1000000, 0xffffffffff)) if self.chance(0.85) else \
                self.random.choice((0, -1, 0x10000000000, -2 ** 63, 2 ** 63 - 1))
            flags = self.random.choice((wire.TTL, wire.TTL, wire.TTL_SEQUENTIAL))
            return (name, path + "/t-" if flags == wire.TTL_SEQUENTIAL and isinstance(path, str) else path,
                    data, acl, flags, ttl)
        flags = self.random.choice((0, 0, 0, 1, 1, 2, 3))
        if self.chance(0.03):
            flags = self.random.choice((7 if inside_multi else 4, 7, 9, -1, 2 ** 31 - 1))
        if flags in (2, 3) and isinstance(path, str) and self.chance(0.8):
            path += self.random.choice(("/", "/s-", "/-"))
        return name, path, data, acl, flags

    def write(self, inside_multi=False):
        kind = self.random.random()
        if kind < 0.5:
            return self.create(inside_multi)
        if kind < 0.7:
            return "setData", self.path(), self.data(), self.version()
        if kind < 0.9 or inside_multi:
            path = self.path()
            if path in self.likely[1:] and self.chance(0.5):
                self.likely.remove(path)
            return "delete", path, self.version()
        return "setACL", self.path(), self.acl(), self.version()

    def watch_style(self, session, path):
        """One style of watch for each session and path: 3.8 keeps one mode, later servers several."""
        # Those that were made may be the same, or all be what stands for one that was not.
        which = path if isinstance(path, str) else "made"
        return random.Random("%s %s %s" % (self.seed, session, which)).choice(("standard", "standard", 0, 1))

    def read(self, session):
        name = self.random.choice(("exists", "exists", "getData", "getData", "getChildren", "getChildren2", "getACL",
                                   "getAllChildrenNumber", "getEphemerals", "whoAmI", "sync", "ping"))
        if name in ("whoAmI", "ping"):
            return (name,)
        if name == "getEphemerals":
            return name, self.random.choice((None, "", "/", " ", self.root, self.root + "/a", self.root[:-1], "a"))
        path = self.path()
        if name in ("getACL", "getAllChildrenNumber", "sync"):
            return name, path
        return name, path, self.chance(0.5) and self.watch_style(session, path) == "standard"

    def watch(self, session):
        path = self.path(odd=0)
        style = self.watch_style(session, path)
        kind = self.random.random()
        if kind < 0.5:
            if style == "standard":
                return self.random.choice(("exists", "getData", "getChildren", "getChildren2")), path, True
            return "addWatch", path, style
        if kind < 0.6:
            return "addWatch", path, self.random.choice((2, -1, 7))
        types = (1, 1, 2, 2, 3, 3, 3, 9) if style == "standard" else (3, 3, 3, 0, -1)
        return self.random.choice(("checkWatches", "removeWatches")), path, self.random.choice(types)

    def multi(self):
        return "multi", [self.write(True) if self.chance(0.8) else ("check", self.path(), self.version())
                         for _ in range(self.random.randrange(0, 6))]

    def multi_read(self):
        return "multiRead", [(self.random.choice(("getData", "getChildren")), self.path(), self.chance(0.3))
                             for _ in range(self.random.randrange(0, 6))]

    def set_watches(self, session):
        standard = lambda: [path for path in (self.plain() for _ in range(self.random.randrange(4)))
                            if self.watch_style(session, path) == "standard"]
        style = lambda wanted: [path for path in (self.plain() for _ in range(self.random.randrange(4)))
                                if self.watch_style(session, path) == wanted]
        relative = ("zxid", self.random.choice((0, 0, -3, -10, 5)))
        lists = [standard(), standard(), standard()]
        if self.chance(0.5):
            return ("setWatches", relative, *lists)
        return ("setWatches2", relative, *lists, style(0), style(1))

    def plain(self):
        if self.chance(0.6):
            return self.random.choice(self.likely[1:] or [self.root + "/a"])
        return self.root + "".join("/" + self.random.choice(NAMES) for _ in range(self.random.choice((1, 1, 2))))

    def quota(self):
        """Limits and statistics as zkCli's setquota writes them, hard limits included."""
        path = self.plain()
        node = "/zookeeper/quota" + path
        text = self.random.choice(("count=5,bytes=-1", "count=2,bytes=100", "count=-1,bytes=-1=;byteHardLimit=50",
                                   "count=-1,bytes=-1=;byteHardLimit=-1;countHardLimit=3"))
        kind = self.random.random()
        self.quotas = True
        if kind < 0.6:
            parts = node.split("/")
            for depth in range(3, len(parts)):
                self.add("call", 0, "create", "/".join(parts[:depth + 1]), b"", OPEN, 0)
            self.add("call", 0, "create", node + "/zookeeper_limits", text.encode(), OPEN, 0)
            return "create", node + "/zookeeper_stats", b"count=0,bytes=0", OPEN, 0
        if kind < 0.8:
            return "getData", node + "/zookeeper_stats", False
        return "delete", node + self.random.choice(("/zookeeper_limits", "/zookeeper_stats")), -1

    def truncated(self):
        """A real request cut short, or with bytes to spare."""
        name = self.random.choice(BODIED)
        path = self.path(odd=0)
        path = path if isinstance(path, str) else self.root
        values = {
            "create": (path, b"d", OPEN, 0), "create2": (path, b"d", OPEN, 0), "createContainer": (path, b"d", OPEN, 4),
            "createTTL": (path, b"d", OPEN, 5, 100000), "delete": (path, -1), "exists": (path, False),
            "getData": (path, False), "setData": (path, b"d", -1), "getACL": (path,), "setACL": (path, OPEN, -1),
            "getChildren": (path, False), "getChildren2": (path, False), "sync": (path,), "checkWatches": (path, 3),
            "removeWatches": (path, 3), "getEphemerals": (path,), "getAllChildrenNumber": (path,),
            "addWatch": (path, 0), "setWatches": (2 ** 50, [path], [path], [path]),
            "setWatches2": (2 ** 50, [path], [path], [path], [path], [path]),
            "multi": ([("create", path, b"d", OPEN, 0), ("delete", path, -1)],),
            "multiRead": ([("getData", path, False), ("getChildren", path, False)],),
        }[name]
        body = wire.request(0, name, *values)[8:]
        # A whole one that leaves watches might mix styles on a path (see watch_style).
        if self.chance(0.85) or name in ("setWatches", "setWatches2", "addWatch"):
            body = body[:self.random.randrange(len(body))]
        else:
            body += bytes(self.random.randrange(1, 9))
        return name, body

    def step(self):
        session = self.random.randrange(SESSIONS)
        kind = self.random.random()
        if kind < 0.34:
            call = self.write()
        elif kind < 0.54:
            call = self.read(session)
        elif kind < 0.68:
            call = self.watch(session)
        elif kind < 0.76:
            call = self.multi()
        elif kind < 0.79:
            call = self.multi_read()
        elif kind < 0.83:
            call = ("auth", 0, "digest", self.random.choice((BOB, ALICE)).encode())
            if self.chance(0.15):
                call = ("auth",) + self.random.choice((
                    (0, "nosuch", b"x"), (0, "digest", b"nocolon"), (0, "digest", b""), (0, "ip", b""),
                    (0, "world", b""), (7, "digest", b"a:b"), (0, "digest", b"super:secret")))
        elif kind < 0.86:
            call = self.set_watches(session)
        elif kind < 0.89:
            call = self.quota()
        elif kind < 0.92:
            calls = [self.write() if self.chance(0.5) else self.read(session)
                     for _ in range(self.random.randrange(2, 9))]
            # Apache checks a request against the ACL from before or after a setACL that is under
            # way, as luck has it (its change record keeps the old ACL), and quotas against what
            # is applied: so one setACL at most, at the end, and no quotas.
            calls = [call for call in calls if call[0] != "ping"]
            changes = [call for call in calls if call[0] == "setACL"]
            if not self.quotas:
                self.add("burst", session, [call for call in calls if call[0] != "setACL"] + changes[:1])
            return None
        elif kind < 0.95:
            return self.add("raw", session, *self.truncated())
        elif kind < 0.96:
            return self.add("raw", session, self.random.choice(UNKNOWN_OPCODES), b"")
        elif kind < 0.98:
            if self.chance(0.3):
                self.add("drop", session)
            return self.add("reopen", session, self.chance(0.5))
        elif kind < 0.985:
            call = ("reconfig", None, None, self.random.choice((None, "server.1=localhost:1:2;3")), -1)
        else:
            call = ("closeSession",)
        if call[0] in ("create", "create2", "createTTL") and call[4] in (2, 3, 6):
            self.made.append(len(self.steps))
        self.add("call", session, *call)

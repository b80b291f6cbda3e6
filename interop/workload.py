"""Clients that write as fast as they are answered, and remember what was acknowledged."""

import random
import threading
import time

import wire
from wire import CONTAINER, OPEN, TTL, Client, Closed

WINDOW = 20  # requests in flight per client
IO_SECONDS = 60


class Worker(threading.Thread):
    """Creates nodes with unique names and data below `root`, and stirs other nodes of its own.

    `acked` maps each created path to its data: such a node is never touched again, so it
    must be found exactly so, whatever happens to the server.
    """

    def __init__(self, address, root, seed, on_ack):
        super().__init__(daemon=True)
        self.address, self.root, self.on_ack = address, root, on_ack
        self.random = random.Random(seed)
        self.acked, self.sent, self.unexpected = {}, {}, []
        self.sequential = []  # names that sequential creates were answered with
        self.client = Client(address, timeout=600000, io_timeout=IO_SECONDS)
        self.number, self.newest = 0, 0
        self.stopping = False
        self.ended = None  # why its last connection did

    def run(self):
        try:
            self.client.call("create", self.root, b"", OPEN, 0)
            self.client.call("create", self.root + "/stirred", b"", OPEN, 0)
            self.work(WINDOW)
        except (Closed, OSError) as error:
            self.ended = error
        self.client.close()

    def work(self, window):
        """Asks and is answered, with so many requests in flight, until it is to stop."""
        waiting = []
        while waiting or not self.stopping:
            while len(waiting) < window and not self.stopping:
                self.number += 1
                waiting.append(self.request(self.number))
            self.answered(waiting.pop(0), self.client.recv())

    def request(self, number):
        """Send one request; returns (ledger path or None, data, operation)."""
        kind = self.random.random()
        path, data = "%s/n%07d" % (self.root, number), b"%s %d" % (self.root.encode(), number)
        if kind < 0.4:
            operation = (self.random.choice(("create", "create2")), path, data, OPEN, 0)
        elif kind < 0.5:
            path = "%s/q%07d-" % (self.root, number)
            operation = ("create", path, data, OPEN, wire.SEQUENTIAL)
        elif kind < 0.55:
            operation = ("create", path, data, OPEN, wire.EPHEMERAL)
        elif kind < 0.6:
            operation = ("multi", [("create", path, data, OPEN, 0),
                                   ("setData", self.root + "/stirred", data, -1)])
        else:
            self.client.send(*self.stir())
            return None, None, None
        self.sent[path] = data
        self.client.send(*operation)
        return path, data, operation

    def stir(self):
        node = "%s/stirred/%d" % (self.root, self.random.randrange(12))
        data = bytes(self.random.randrange(256) for _ in range(self.random.randrange(40)))
        return self.random.choice((
            ("create", node, data, OPEN, 0), ("create", node, None, OPEN, wire.EPHEMERAL), ("delete", node, -1),
            ("setData", node, data, -1), ("setData", node, data, self.random.randrange(4)),
            ("setACL", node, self.random.choice((OPEN, wire.READ_ONLY, [(31, "ip", "127.0.0.1")],
                                                 [(31, "digest", "a:b"), (31, "world", "anyone")])), -1),
            ("createContainer", node, data, OPEN, CONTAINER), ("createTTL", node, data, OPEN, TTL, 10 ** 7),
            ("createTTL", node, data, OPEN, wire.TTL_SEQUENTIAL, 10 ** 7),
            ("multi", [("check", self.root, 0), ("create", node, data, OPEN, 0), ("delete", node, 0)]),
            ("multi", [("create", node, data, OPEN, 0), ("check", node, 77)]),
            ("multi", []),
            ("getChildren2", self.root + "/stirred", True),
        ))

    def answered(self, request, reply):
        path, data, operation = request
        if 0 < reply.zxid < self.newest:
            self.unexpected.append("%s is at %#x after %#x" % (reply, reply.zxid, self.newest))
        self.newest = max(self.newest, reply.zxid)
        if path is None:
            return
        if reply.err != 0 or operation[0] == "multi" and reply.body[0][0] == -1:
            self.unexpected.append("%s: err %d %s" % (path, reply.err, reply.body))
            return
        made = path if operation[0] == "multi" else reply["path"]
        if made in self.acked:
            self.unexpected.append("%s was created twice" % made)
        self.acked[made] = data
        self.on_ack()


class Roamer(Worker):
    """One session that goes on at the next of some servers when its connection ends.

    What it is answered may never be older than what it was answered before, wherever it is.
    """

    WINDOW, PACE_SECONDS, IO_SECONDS, RETRY_SECONDS = 4, 0.015, 2, 0.05

    def __init__(self, servers, root, seed, on_ack):
        self.servers, self.moves = list(servers), 0
        super().__init__(self.servers[0].address, root, seed, on_ack)
        self.client.ok("create", root, b"", OPEN, 0)
        self.client.ok("create", root + "/stirred", b"", OPEN, 0)

    def run(self):
        while True:
            try:
                self.client.sock.settimeout(self.IO_SECONDS)
                self.work(self.WINDOW)
                break
            except (Closed, OSError) as error:
                self.ended = error
                self.client.close()
                if self.stopping or not self.reconnect():
                    break
        self.client.close()

    def reconnect(self):
        """Goes on with its session, anywhere; whether it could before it was to stop."""
        while not self.stopping:
            self.moves += 1
            server = self.servers[self.moves % len(self.servers)]
            try:
                client = Client(server.address, 600000, self.client.session, self.client.password, self.newest,
                                io_timeout=self.IO_SECONDS)
            except (Closed, OSError):
                time.sleep(self.RETRY_SECONDS)  # a server that does not serve gives no event to wait for
                continue
            if client.session == self.client.session:
                self.client = client
                return True
            self.unexpected.append("its session is gone, says server %d" % server.id)
            client.close()
            return False
        return False

    def request(self, number):
        time.sleep(self.PACE_SECONDS)  # it is to be there all the time, not to fill the tree
        return super().request(number)


class Load:
    """Several workers on one server; `until(count)` waits for that many acknowledged creates."""

    def __init__(self, address, root, workers, seed=0):
        self.begin(address, root, workers, seed, lambda *values: Worker(address, *values))

    def begin(self, address, root, workers, seed, worker):
        self.count, self.changed = 0, threading.Condition()
        admin = Client(address)
        admin.ok("create", root, b"", OPEN, 0)
        admin.ok("closeSession")
        admin.close()
        self.workers = [worker("%s/w%d" % (root, n), "%s %d" % (seed, n), self.acked) for n in range(workers)]
        for worker in self.workers:
            worker.start()

    def acked(self):
        with self.changed:
            self.count += 1
            self.changed.notify()

    def until(self, count, seconds=120):
        with self.changed:
            if not self.changed.wait_for(lambda: self.count >= count or not self.alive(), seconds):
                raise TimeoutError("%d of %d writes acknowledged in %d s" % (self.count, count, seconds))
            if self.count < count:
                raise AssertionError("every worker ended after %d of %d writes: %s" % (
                    self.count, count, [(worker.ended, worker.unexpected[:3]) for worker in self.workers]))

    def alive(self):
        return any(worker.is_alive() for worker in self.workers)

    def stop(self):
        """Lets the workers end when all that they asked is answered."""
        for worker in self.workers:
            worker.stopping = True

    def join(self):
        """After the server died, or `stop`: every acknowledged write, and what could not be explained."""
        acked, sent, unexpected = {}, {}, []
        for worker in self.workers:
            worker.join()
            acked.update(worker.acked)
            sent.update(worker.sent)
            unexpected.extend(worker.unexpected)
        return acked, sent, unexpected


class Roaming(Load):
    """Roamers on servers that may go away: they do not end before they are told to."""

    def __init__(self, servers, root, workers, seed=0, roamer=Roamer):
        self.begin(servers[0].address, root, workers, seed, lambda *values: roamer(servers, *values))


def check_ledger(found, acked, sent):
    """Lines for acknowledged writes that are lost or changed, and for writes seen twice."""
    wrong = []
    for path, data in acked.items():
        if path not in found:
            wrong.append("lost: %s was acknowledged" % path)
        elif found[path]["data"] != data:
            wrong.append("changed: %s has %r, acknowledged %r" % (path, found[path]["data"], data))
        elif found[path]["stat"]["version"] != 0:
            wrong.append("changed: %s has version %d" % (path, found[path]["stat"]["version"]))
    by_data = {}
    for path, node in found.items():
        name = path.rsplit("/", 1)[1]
        if "/stirred" in path or name[:1] not in ("n", "q") or not name[1:8].isdigit():
            continue
        if node["data"] in by_data:
            wrong.append("twice: %s and %s" % (by_data[node["data"]], path))
        by_data[node["data"]] = path
        asked = path if name[0] == "n" else path[:path.rindex("-") + 1]
        if asked in sent and sent[asked] != node["data"]:
            wrong.append("never written: %s has %r" % (path, node["data"]))
    return wrong

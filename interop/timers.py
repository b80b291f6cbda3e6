"""What happens by itself: sessions expire, containers and TTL nodes are reaped."""

import threading
import time

from report import Failure
from wire import CONTAINER, DELETED_EVENT, EPHEMERAL, OPEN, TTL, Client

TICK_MS = 500
TIMEOUT_MS = 2000
CHECK_MS = 300  # how often containers and TTL nodes are looked at
TTL_MS = 1500
LATE_SECONDS = 5


def deleted_after(watcher, path):
    """Seconds until the watcher hears that `path` is gone."""
    began = time.monotonic()
    while True:
        for event in watcher.events:
            if event["path"] == path:
                if event["type"] != DELETED_EVENT:
                    raise Failure("%s: event %d where its deletion is due" % (path, event["type"]))
                watcher.events.clear()
                return time.monotonic() - began
        try:
            watcher.recv_event()
        except TimeoutError:
            raise Failure("%s is still there" % path) from None


def between(seconds, low_ms, what):
    high = low_ms / 1000 + LATE_SECONDS
    if not low_ms / 1000 <= seconds <= high:
        raise Failure("%s after %.2f s, due between %.2f and %.2f s" % (what, seconds, low_ms / 1000, high))


def expiry(options):
    """timers-expiry: a silent session expires in time with its ephemerals; one that pings or returns lives"""
    with options.subject({"tickTime": TICK_MS}) as server:
        watcher = Client(server.start().address, timeout=30000)
        silent = Client(server.address, timeout=TIMEOUT_MS)
        pinging = Client(server.address, timeout=TIMEOUT_MS)
        silent.ok("create", "/silent", b"", OPEN, EPHEMERAL)
        pinging.ok("create", "/pinging", b"", OPEN, EPHEMERAL)
        watcher.ok("exists", "/pinging", True)
        # A closed connection does not end a session: it can be taken up again.
        silent.close()
        silent = Client(server.address, timeout=TIMEOUT_MS, session=silent.session, password=silent.password)
        if silent.session == 0:
            raise Failure("a session could not be taken up again at once")
        silent.ok("exists", "/silent", False)
        watcher.ok("exists", "/silent", True)
        silent.close()
        until = time.monotonic() + 3 * TIMEOUT_MS / 1000
        stop = threading.Event()
        beat = threading.Thread(target=lambda: keep(pinging, stop))
        beat.start()
        try:
            between(deleted_after(watcher, "/silent"), TIMEOUT_MS - TICK_MS, "the session expired")
            stop.wait(max(0, until - time.monotonic()))
        finally:
            stop.set()
            beat.join()
        if watcher.take_events() or watcher.call("exists", "/pinging", False).err != 0:
            raise Failure("a session that pings expired")
        gone = Client(server.address, session=silent.session, password=silent.password)
        if gone.session != 0:
            raise Failure("an expired session was given again")
    return "%d ms" % TIMEOUT_MS


def keep(client, stop):
    """Pings, four in each timeout."""
    while not stop.wait(TIMEOUT_MS / 4000):
        client.call("ping")


def reaping(options):
    """timers-reaping: empty containers and TTL nodes past their time go; others stay"""
    with options.subject({"tickTime": TICK_MS}, {"znode.container.checkIntervalMs": CHECK_MS}) as server:
        client = Client(server.start().address, timeout=30000)
        for path in ("/used", "/never-used", "/full"):
            client.ok("createContainer", path, b"", OPEN, CONTAINER)
        for path in ("/used/child", "/full/child"):
            client.ok("create", path, b"", OPEN, 0)
        client.ok("create", "/plain", b"", OPEN, 0)
        client.ok("createTTL", "/lasting", b"", OPEN, TTL, 10 ** 7)
        client.ok("createTTL", "/parent", b"", OPEN, TTL, 1)
        client.ok("create", "/parent/child", b"", OPEN, 0)
        client.ok("createTTL", "/brief", b"", OPEN, TTL, TTL_MS)
        client.ok("exists", "/brief", True)
        between(deleted_after(client, "/brief"), TTL_MS - 100, "the TTL node went")
        client.ok("exists", "/used", True)
        client.ok("delete", "/used/child", -1)
        between(deleted_after(client, "/used"), 0, "the container went")
        for path in ("/never-used", "/full", "/plain", "/lasting", "/parent"):
            if client.call("exists", path, False).err != 0:
                raise Failure("%s was reaped" % path)
    return "a container and a TTL node of %d ms" % TTL_MS

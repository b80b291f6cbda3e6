"""kazoo uses an ensemble of boards, small as it is: `boards.py HOST:PORT,..` leaves it as it was."""

import sys
import threading

from kazoo.client import KazooClient

SECONDS = 30


def wait(event, what):
    if not event.wait(SECONDS):
        sys.exit("kazoo has not heard: %s" % what)


def watched(one, two):
    """Data, its stat, and a watch that another client sets off."""
    changed = threading.Event()
    one.create("/kazoo", b"one")
    data, stat = one.get("/kazoo", watch=lambda event: changed.set())
    assert (data, stat.version, stat.dataLength) == (b"one", 0, 3), (data, stat)
    two.set("/kazoo", b"two")
    wait(changed, "that data changed")
    assert one.get("/kazoo")[0] == b"two"


def recipes(one, two):
    """What kazoo builds on sequential and ephemeral nodes."""
    with one.Lock("/kazoo/lock", "one"):
        other = two.Lock("/kazoo/lock", "two")
        assert not other.acquire(blocking=False)
    with two.Lock("/kazoo/lock", "two"):
        pass
    transaction = one.transaction()
    transaction.create("/kazoo/both")
    transaction.delete("/kazoo/both")
    assert transaction.commit() == ["/kazoo/both", True]


def ends(one, two):
    """A session that is closed takes its nodes along."""
    gone = threading.Event()
    path = two.create("/kazoo/n-", ephemeral=True, sequence=True)
    # They are at different servers.
    one.sync(path)
    assert one.exists(path, watch=lambda event: gone.set())
    two.stop()
    wait(gone, "that a node went with its session")
    assert one.get_children("/kazoo") == ["lock"]


def main(hosts):
    one, two = (KazooClient(hosts=hosts, timeout=10) for _ in range(2))
    for client in (one, two):
        client.start(timeout=SECONDS)
    for check in (watched, recipes, ends):
        check(one, two)
    one.delete("/kazoo", recursive=True)
    one.stop()


if __name__ == "__main__":
    main(sys.argv[1])

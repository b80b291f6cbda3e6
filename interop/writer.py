"""One session writes numbers, whatever happens to its servers: `writer.py HOST:PORT,.. PATH`.

It says so when it writes, and again whenever it has lost its connection and goes on. Then every number that
was acknowledged must be there, and at most the one more that it asked for. A line on its standard input ends
it.
"""

import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import ConnectionLoss, OperationTimeoutError, SessionExpiredError
from kazoo.retry import KazooRetry

SECONDS = 60  # until it is connected again
SESSION_SECONDS = 40  # the longest that a board grants: it outlives that all of them are off
ENOUGH = 3  # acknowledged numbers before it says that it writes
TRY_SECONDS = 0.2  # between two attempts to connect


class Writer:
    def __init__(self, hosts, path):
        self.path, self.acknowledged, self.asked = path, 0, 0
        self.connected, self.over = threading.Event(), threading.Event()
        retry = KazooRetry(max_tries=-1, delay=TRY_SECONDS, max_delay=TRY_SECONDS)
        self.client = KazooClient(hosts=hosts, timeout=SESSION_SECONDS, connection_retry=retry)
        self.client.add_listener(self.heard)
        self.client.start(timeout=SECONDS)
        self.session = self.client.client_id[0]

    def heard(self, state):
        if state == KazooState.CONNECTED:
            self.connected.set()
        else:
            self.connected.clear()

    def there(self):
        """What is there: neither less than was acknowledged nor more than was asked for."""
        self.client.sync(self.path)
        found = int(self.client.get(self.path)[0])
        if not self.acknowledged <= found <= self.asked:
            sys.exit("%d is there: %d was acknowledged, and %d asked for" % (found, self.acknowledged, self.asked))
        return found

    def write(self):
        """Writes until it is over, or its connection."""
        self.acknowledged = self.asked = self.there()
        first = self.acknowledged
        while not self.over.is_set():
            self.asked += 1
            self.client.set(self.path, b"%d" % self.asked)
            self.acknowledged = self.asked
            if self.acknowledged == first + ENOUGH:
                print("writes behind %d" % first, flush=True)

    def run(self):
        while not self.over.is_set():
            if not self.connected.wait(SECONDS):
                sys.exit("it is not connected again")
            try:
                self.write()
            except (ConnectionLoss, OperationTimeoutError):
                self.connected.wait(TRY_SECONDS)
        # Its session has outlived it all.
        if self.client.client_id[0] != self.session:
            sys.exit("it has another session")
        print("has written %d" % self.there(), flush=True)
        self.client.stop()


def main(hosts, path):
    writer = Writer(hosts, path)

    def ending():
        sys.stdin.readline()
        writer.over.set()

    threading.Thread(target=ending, daemon=True).start()
    try:
        writer.run()
    except SessionExpiredError:
        sys.exit("its session has expired")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

"""A well-behaved client in a process of its own, running while another misbehaves.

It writes a value, reads it back and checks it, one request in flight, until its standard
input ends; then it prints a JSON line: rounds, milliseconds p50, p99 and longest, and
what went wrong, if anything.
"""

import json
import os
import subprocess
import sys
import threading
import time

from report import Failure

LONGEST_MS = 2000  # no request of the well-behaved client may take longer
ROUNDS = 20  # and it must have got somewhere


class Beside:
    def __init__(self, server):
        self.process = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), server.address[0], str(server.port)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise Failure("the well-behaved client could not even start")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def verdict(self):
        """Stop it; raises if it suffered, else returns its figures."""
        told, _ = self.process.communicate(timeout=30)
        seen = json.loads(told)
        if seen["wrong"]:
            raise Failure("the well-behaved client: %s" % seen["wrong"])
        if seen["longest"] > LONGEST_MS or seen["rounds"] < ROUNDS:
            raise Failure("the well-behaved client suffered: %s" % seen)
        return "%d rounds, p99 %.1f ms, longest %.0f ms" % (seen["rounds"], seen["p99"], seen["longest"])


def main(host, port):
    from wire import EPHEMERAL, OPEN, Client
    client = Client((host, int(port)))
    node = "/beside-%d" % os.getpid()
    client.ok("create", node, b"", OPEN, EPHEMERAL)
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    print("ready", flush=True)
    times, wrong = [], None
    try:
        while not ended.is_set() or len(times) < 2 * ROUNDS:
            value = b"value %d" % len(times)
            for name, values in (("setData", (value, -1)), ("getData", (False,))):
                before = time.monotonic()
                reply = client.ok(name, node, *values)
                times.append((time.monotonic() - before) * 1000)
            if reply["data"] != value:
                raise AssertionError("read %r, wrote %r" % (reply["data"], value))
    except Exception as error:  # told to the parent, which fails the check
        wrong = repr(error)
    times.sort()
    print(json.dumps({"rounds": len(times) // 2, "p50": times[len(times) // 2] if times else 0,
                      "p99": times[len(times) * 99 // 100] if times else 0,
                      "longest": times[-1] if times else 0, "wrong": wrong}))


if __name__ == "__main__":
    main(*sys.argv[1:])

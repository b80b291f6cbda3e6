"""One standalone server process in a directory of its own.

`apache.Apache` and `zk.Zk` say how the command line looks; everything else
(configuration, ports, readiness, stopping, killing, four-letter words) is here,
so that every check treats both alike.
"""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time

HOST = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 30

# What every check wants unless it says otherwise.
DEFAULTS = {
    "tickTime": "2000",
    "maxSessionTimeout": "600000",
    "maxClientCnxns": "0",
    "4lw.commands.whitelist": "*",
    "admin.enableServer": "false",
    "extendedTypesEnabled": "true",
    "preAllocSize": "64",
}


class StartError(Exception):
    """The server ended, or never answered, instead of serving."""


given_ports = set()


def free_port():
    """A port that nobody has, that was not given before, and that no connection gets for its own end."""
    with open("/proc/sys/net/ipv4/ip_local_port_range") as limits:
        first = int(limits.read().split()[0])
    while True:
        port = random.randrange(10000, first)
        with socket.socket() as probe:
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port not in given_ports:
            given_ports.add(port)
            return port


def four_letter(port, word, timeout=10):
    """Send a four-letter word and return the whole text that comes back."""
    with socket.create_connection((HOST, port), timeout=timeout) as sock:
        sock.sendall(word.encode())
        chunks = []
        while True:
            chunk = sock.recv(65536)
            if not chunk:
                return b"".join(chunks).decode("utf-8", "replace")
            chunks.append(chunk)


class Server:
    """A server on a data directory that outlives it, until `close`.

    config      lines of zoo.cfg over DEFAULTS (None removes a line)
    properties  options that Apache takes only as Java system properties
    home        directory to use; a temporary one, removed by `close`, if absent
    """

    name = "server"

    def __init__(self, config=None, properties=None, home=None):
        self.owned = home is None
        self.home = home or tempfile.mkdtemp(prefix="interop-%s-" % self.name)
        self.data = os.path.join(self.home, "data")
        self.properties = dict(properties or {})
        self.config = dict(DEFAULTS, dataDir=self.data)
        for key, value in (config or {}).items():
            if value is None:
                self.config.pop(key, None)
            else:
                self.config[key] = str(value)
        os.makedirs(self.data, exist_ok=True)
        self.process = None
        self.port = None
        self.starts = 0
        self.keeps_config = False  # whether zoo.cfg is the server's own after the first start

    # What differs between servers.
    def command(self, cfg):
        raise NotImplementedError

    def config_lines(self):
        return ["%s=%s" % item for item in self.config.items()]

    @property
    def address(self):
        return (HOST, self.port)

    @property
    def log_path(self):
        return os.path.join(self.home, "server.log")

    def log_tail(self, lines=25):
        """The end of the log, without the frames of Java's stacks: what was thrown and why says more."""
        try:
            with open(self.log_path, errors="replace") as log:
                return "".join([line for line in log if not line.startswith("\tat ")][-lines:])
        except FileNotFoundError:
            return ""

    def launch(self):
        """Start the process without waiting for it to serve."""
        cfg = os.path.join(self.home, "zoo.cfg")
        if not self.keeps_config or not os.path.exists(cfg):
            self.port = free_port()
            with open(cfg, "w") as out:
                lines = self.config_lines()
                out.write("\n".join(lines + ["clientPort=%d" % self.port, "clientPortAddress=" + HOST]) + "\n")
        self.starts += 1
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(cfg), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home,
                start_new_session=True)

    def start(self):
        """Start and return once the client port answers `srvr`."""
        for attempt in (1, 2, 3):
            self.launch()
            deadline = time.monotonic() + START_SECONDS
            while True:
                try:
                    # Apache can leave a question unanswered that arrives while it starts: ask again soon.
                    if "Mode:" in four_letter(self.port, "srvr", timeout=0.3):
                        return self
                except OSError:
                    pass
                code = self.process.poll()
                if code is not None:
                    break
                if time.monotonic() > deadline:
                    self.kill()
                    raise StartError("%s did not serve within %d s\n%s" % (self.name, START_SECONDS, self.log_tail()))
                time.sleep(0.02)  # a port that refuses gives no event to wait for
            # Somebody may have taken the free port between our probe and the bind.
            if attempt < 3 and "in use" in self.log_tail():
                continue
            raise StartError("%s ended with code %s before serving\n%s" % (self.name, code, self.log_tail()))

    def wait(self, seconds=STOP_SECONDS):
        return self.process.wait(timeout=seconds)

    def stop(self):
        """SIGTERM and wait; returns the exit code."""
        if self.process is None:
            return None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout=STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        code, self.process = self.process.returncode, None
        return code

    def kill(self):
        """SIGKILL and wait."""
        if self.process is not None:
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.process = None

    def close(self):
        self.kill()
        if self.owned:
            shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def four_letter(self, word):
        return four_letter(self.port, word)

    def memory_kib(self):
        """Resident memory of the process, in KiB."""
        with open("/proc/%d/status" % self.process.pid) as status:
            for line in status:
                if line.startswith("VmRSS:"):
                    return int(line.split()[1])
        raise OSError("no VmRSS for pid %d" % self.process.pid)

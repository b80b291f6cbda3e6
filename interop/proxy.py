"""A network between servers that can be cut, made deaf one way, lossy or slow.

For every server that may call another one, and each of the other's ports for members, there is a port
here; the caller's configuration names it instead of the true one. A *way* is what one server says to
another, whoever has made the connection.

On the election port a server says where it is, and Apache's calls back there. So that nobody gets
around the network, that address is replaced by the port here that leads to it.
"""

import collections
import contextlib
import selectors
import socket
import struct
import threading
import time

HOST = "127.0.0.1"
ROOM = 1 << 18  # bytes that wait on one way of one connection; then its source waits
RETRY_SECONDS = 0.05
PATIENCE_SECONDS = 1  # how long a port that is not open yet is tried
OPEN, HELD, LOST = "open", "held", "lost"
HELLO_VERSIONS = (-65536, -65535)


class Way:
    """What one server says to another, now."""

    def __init__(self):
        self.mode, self.delay = OPEN, 0


class Stream:
    """One direction of one connection."""

    def __init__(self, source, target, way):
        self.source, self.target, self.way = source, target, way
        self.waiting = collections.deque()  # (when it may go, bytes)
        self.size = 0
        self.ended = self.done = False

    def push(self, data):
        self.waiting.append((time.monotonic() + self.way.delay, data))
        self.size += len(data)


class Port:
    """Where `caller` finds a port of `called`."""

    def __init__(self, caller, called, kind, true):
        self.caller, self.called, self.kind, self.true = caller, called, kind, true
        self.sock = socket.socket()
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.sock.bind((HOST, 0))
        self.sock.listen(128)
        self.sock.setblocking(False)
        self.number = self.sock.getsockname()[1]


class Joint:
    """One connection of a caller, and the one that continues it."""

    def __init__(self, port, near, ways):
        self.port, self.near, self.far, self.ways = port, near, None, ways
        self.streams = []
        self.tried = self.give_up_at = None
        self.hello = b"" if port.kind == "election" else None  # bytes until it is whole
        self.spoiled = False  # something that was said on it is lost

    def socks(self):
        return [sock for sock in (self.near, self.far) if sock is not None]


class Network:
    def __init__(self):
        self.lock = threading.Lock()
        self.selector = selectors.DefaultSelector()
        self.ways = collections.defaultdict(Way)
        self.cuts = set()  # pairs whose connections are ended
        self.ports, self.joints = {}, set()
        self.woken, self.waker = socket.socketpair()
        self.woken.setblocking(False)
        self.selector.register(self.woken, selectors.EVENT_READ, None)
        self.failure, self.ending = None, False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ending = True
        self.waker.send(b".")
        self.thread.join()
        for sock in [port.sock for port in self.ports.values()] + [s for j in self.joints for s in j.socks()]:
            sock.close()
        self.selector.close()
        self.waker.close()
        self.woken.close()

    # What checks ask for.

    def port(self, caller, called, kind, true):
        """The number of the port at which `caller` finds that of `called`."""
        with self.change():
            port = self.ports[caller, called, kind] = Port(caller, called, kind, true)
            self.selector.register(port.sock, selectors.EVENT_READ, port)
        return port.number

    def cut(self, one, others):
        """Ends all connections between one server and others, and each new one."""
        with self.change():
            self.cuts.update(frozenset((one, other)) for other in others)

    def hold(self, one, others):
        """What `one` says to `others` waits; connections stay, new ones are not answered."""
        self.set_mode(one, others, HELD)

    def lose(self, one, others):
        """What `one` says to `others` vanishes; connections stay, new ones are not answered."""
        self.set_mode(one, others, LOST)

    def slow(self, one, others, seconds):
        with self.change():
            for other in others:
                self.ways[one, other].delay = seconds

    def heal(self):
        """What waits arrives. Connections on which something was lost end."""
        with self.change():
            for way in self.ways.values():
                way.mode, way.delay = OPEN, 0
            self.cuts.clear()
            for joint in [joint for joint in self.joints if joint.spoiled]:
                self.end(joint, reset=True)

    def around(self):
        """Connections to a true port that do not come from here: the network would prove nothing."""
        with self.lock:
            self.check()
            true = {port.true: port for port in self.ports.values()}
            ours = {joint.far.getsockname()[1] for joint in self.joints if joint.far is not None}
            found = []
            for path in ("/proc/net/tcp", "/proc/net/tcp6"):
                with open(path) as lines:
                    for line in list(lines)[1:]:
                        local, remote, state = line.split()[1:4]
                        local, remote = (int(text.rsplit(":", 1)[1], 16) for text in (local, remote))
                        if state == "01" and remote in true and local not in ours:
                            port = true[remote]
                            found.append("port %d to the %s port of %s" % (local, port.kind, port.called))
            return found

    def set_mode(self, one, others, mode):
        with self.change():
            for other in others:
                self.ways[one, other].mode = mode

    @contextlib.contextmanager
    def change(self):
        with self.lock:
            self.check()
            yield
            for joint in list(self.joints):
                self.turn(joint)
        self.waker.send(b".")

    def check(self):
        if self.failure is not None:
            raise self.failure

    # The thread that moves bytes.

    def run(self):
        try:
            while not self.ending:
                events = self.selector.select(self.pause())
                with self.lock:
                    for key, _ in events:
                        if key.data is None:
                            self.woken.recv(4096)
                        elif isinstance(key.data, Port):
                            self.accept(key.data)
                    for joint in list(self.joints):
                        self.turn(joint)
        except Exception as error:  # told to whoever asks for something next
            self.failure = error

    def pause(self):
        """Seconds until something is to be done without being woken."""
        with self.lock:
            now, times = time.monotonic(), []
            for joint in self.joints:
                if joint.far is None and joint.tried is not None:
                    times.append(joint.tried + RETRY_SECONDS)
                times.extend(stream.waiting[0][0] for stream in joint.streams
                             if stream.waiting and stream.way.mode == OPEN and stream.waiting[0][0] > now)
            return max(0, min(times) - now) if times else None

    def accept(self, port):
        try:
            near, _ = port.sock.accept()
        except BlockingIOError:
            return
        near.setblocking(False)
        near.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = (self.ways[port.caller, port.called], self.ways[port.called, port.caller])
        self.joints.add(Joint(port, near, ways))

    def turn(self, joint):
        if frozenset((joint.port.caller, joint.port.called)) in self.cuts:
            return self.end(joint, reset=True)
        if joint.far is None:
            # Both ways are needed to make a connection.
            if all(way.mode == OPEN for way in joint.ways):
                self.continue_to(joint)
        for stream in joint.streams:
            self.read(joint, stream)
            self.write(stream)
        if joint.streams and all(stream.done for stream in joint.streams):
            return self.end(joint)
        self.look(joint)

    def continue_to(self, joint):
        now = time.monotonic()
        if joint.give_up_at is None:
            joint.give_up_at = now + PATIENCE_SECONDS
        if joint.tried is not None and now < joint.tried + RETRY_SECONDS:
            return
        joint.tried = now
        far = socket.socket()
        far.settimeout(RETRY_SECONDS)  # a stopped process with a full queue does not answer
        try:
            far.connect((HOST, joint.port.true))
        except OSError:
            far.close()
            if now > joint.give_up_at:
                self.end(joint, reset=True)
            return
        far.setblocking(False)
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        joint.far = far
        joint.streams = [Stream(joint.near, far, joint.ways[0]), Stream(far, joint.near, joint.ways[1])]

    def read(self, joint, stream):
        while not stream.ended and stream.size < ROOM and stream.way.mode != HELD:
            try:
                data = stream.source.recv(65536)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            stream.ended = not data
            if stream.way.mode == LOST:
                joint.spoiled = True
            elif data:
                if stream.source is joint.near and joint.hello is not None:
                    data = self.greeted(joint, data)
                stream.push(data)

    def greeted(self, joint, data):
        """What goes on of a hello once it is whole: with an address that leads here."""
        joint.hello += data
        if len(joint.hello) < 20:
            return b""
        version, _, length = struct.unpack(">qqi", joint.hello[:20])
        if version not in HELLO_VERSIONS:
            raise ValueError("a hello of version %d" % version)
        if len(joint.hello) < 20 + length:
            return b""
        back = self.ports[joint.port.called, joint.port.caller, "election"]
        address = b"%s:%d" % (HOST.encode(), back.number)
        whole = joint.hello[:16] + struct.pack(">i", len(address)) + address + joint.hello[20 + length:]
        joint.hello = None
        return whole

    def write(self, stream):
        if stream.done or stream.way.mode != OPEN:
            return
        while stream.waiting and stream.waiting[0][0] <= time.monotonic():
            due, data = stream.waiting[0]
            try:
                sent = stream.target.send(data) if data else 0
            except BlockingIOError:
                return
            except OSError:
                stream.waiting.clear()
                stream.size, stream.ended = 0, True
                break
            stream.size -= sent
            if sent == len(data):
                stream.waiting.popleft()
            else:
                stream.waiting[0] = (due, data[sent:])
        if stream.ended and not stream.waiting:
            stream.done = True
            with contextlib.suppress(OSError):
                stream.target.shutdown(socket.SHUT_WR)

    def look(self, joint):
        """Registers what is waited for."""
        if joint not in self.joints:
            return
        wanted = {sock: 0 for sock in joint.socks()}
        for stream in joint.streams:
            if not stream.ended and stream.size < ROOM and stream.way.mode != HELD:
                wanted[stream.source] |= selectors.EVENT_READ
            if stream.waiting and stream.way.mode == OPEN and stream.waiting[0][0] <= time.monotonic():
                wanted[stream.target] |= selectors.EVENT_WRITE
        for sock, events in wanted.items():
            known = self.selector.get_map().get(sock)
            if known is None and events:
                self.selector.register(sock, events, joint)
            elif known is not None and not events:
                self.selector.unregister(sock)
            elif known is not None and known.events != events:
                self.selector.modify(sock, events, joint)

    def end(self, joint, reset=False):
        self.joints.discard(joint)
        for sock in joint.socks():
            if sock in self.selector.get_map():
                self.selector.unregister(sock)
            if reset:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()

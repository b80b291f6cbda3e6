"""Transaction logs, read independently of either server.

A file is a 16-byte header and records: i64 Adler-32, i32 length, entry, 'B'; zeros or the
end of the file end it. An entry is a header, a body by type, and perhaps a digest.
"""

import glob
import os
import struct
import zlib

from wire import Reader

MAGIC = 0x5A4B4C47  # "ZKLG"
HEADER = [("session", "l"), ("cxid", "i"), ("zxid", "l"), ("time", "l"), ("type", "i")]
CREATE = [("path", "s"), ("data", "b"), ("acl", "acl*"), ("ephemeral", "z"), ("parentCVersion", "i")]
CREATE_CONTAINER = [("path", "s"), ("data", "b"), ("acl", "acl*"), ("parentCVersion", "i")]
BODIES = {
    1: CREATE, 15: CREATE,
    19: CREATE_CONTAINER,
    21: CREATE_CONTAINER + [("ttl", "l")],
    2: [("path", "s")], 20: [("path", "s")],
    5: [("path", "s"), ("data", "b"), ("version", "i")],
    7: [("path", "s"), ("acl", "acl*"), ("version", "i")],
    13: [("path", "s"), ("version", "i")],
    16: [("path", "s"), ("data", "b"), ("version", "i")],
    -1: [("err", "i")],
    -10: [("timeout", "i")],
    -11: [("paths", "s*")],
}
MULTI = 14


class Damaged(Exception):
    """A record whose framing is whole and whose checksum is wrong, or that does not decode."""


class Txn:
    def __init__(self, entry):
        reader = Reader(entry)
        for name, value in reader.record(HEADER).items():
            setattr(self, name, value)
        if self.type == MULTI:
            self.body = []
            for _ in range(reader.read("i")):
                kind, data = reader.read("i"), reader.read("b")
                inner = Reader(data)
                self.body.append((kind, inner.record(BODIES[kind])))
                if inner.rest:
                    raise Damaged("zxid %#x: %d bytes left in a sub-transaction" % (self.zxid, len(inner.rest)))
        else:
            self.body = reader.record(BODIES[self.type])
        self.digest = reader.record([("version", "i"), ("tree", "l")]) if reader.rest else None
        if reader.rest:
            raise Damaged("zxid %#x: %d bytes after the entry" % (self.zxid, len(reader.rest)))


def read_file(path):
    """The transactions of one file, in order."""
    with open(path, "rb") as source:
        data = source.read()
    if struct.unpack(">i", data[:4])[0] != MAGIC:
        raise Damaged("%s: no log magic" % path)
    at, found = 16, []
    while at + 12 <= len(data):
        checksum, length = struct.unpack(">qi", data[at:at + 12])
        entry = data[at + 12:at + 12 + length]
        if length == 0 or data[at + 12 + length:at + 13 + length] != b"B":
            break
        if zlib.adler32(entry) != checksum:
            raise Damaged("%s: bad checksum at offset %d" % (path, at))
        found.append(Txn(entry))
        at += 13 + length
    return found


def read(data_dir):
    """All transactions of a data directory, in file order."""
    files = glob.glob(os.path.join(data_dir, "version-2", "log.*"))
    files.sort(key=lambda path: int(path.rsplit(".", 1)[1], 16))
    return [txn for path in files for txn in read_file(path)]

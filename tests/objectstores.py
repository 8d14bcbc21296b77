"""An S3 server of its own process, and a way to it that can be cut."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from contextlib import contextmanager, suppress

PASSWORD = "hush-3f9a-hush"


def free_port():
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class ObjectServer:
    """A running moto server; what it was asked for is in its log."""

    def __init__(self, folder):
        self.port, self.log = free_port(), folder / "requests.log"
        self.url = f"http://127.0.0.1:{self.port}"
        words = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1"]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*words, "-p", str(self.port)], stdout=log, stderr=log
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def _answers(self):
        with suppress(OSError):
            urllib.request.urlopen(f"{self.url}/moto-api/").close()
            return True
        return False

    @property
    def environment(self):
        """What a process needs to use it."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "somebody",
            "AWS_SECRET_ACCESS_KEY": PASSWORD,
            "AWS_DEFAULT_REGION": "us-east-1",
        }

    def requests(self):
        """Return the requests so far, as in "GET /bucket/name"."""
        return re.findall(r'"(?:\x1b\[\d+m)*([A-Z]+ \S+) HTTP', self.log.read_text())

    def close(self):
        """End the process."""
        self.process.kill()
        self.process.wait()


class Gate:
    """A way to a port of this machine, which can be shut and opened again."""

    def __init__(self, port):
        self.target, self.port = port, free_port()
        self._ends = []
        self._listener = None
        self.open()

    def open(self):
        """Let connections through."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,)).start()

    def shut(self):
        """Refuse connections, and cut those there are."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        self._ends.clear()

    def _accept(self, listener):
        while True:
            try:
                near, _ = listener.accept()
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            self._ends += [near, far]
            for pair in ((near, far), (far, near)):
                threading.Thread(target=_copy, args=pair, daemon=True).start()


def _copy(source, target):
    with suppress(OSError):
        while content := source.recv(1 << 16):
            target.sendall(content)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()


@contextmanager
def in_environment(values):
    """Set environment variables for a while."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value

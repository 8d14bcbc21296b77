"""Start a server that speaks Bolt on this machine: ArcadeDB, from PyPI, with its Java.

    pip install arcadedb-embedded
    python examples/bolt_server.py FOLDER

prints the port, and serves the database "graph" to the user "root" until its standard
input is closed. The password is that in NEO4J_PASSWORD.
"""

import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress


class BoltServer:
    """A server in a process of its own, with a random password."""

    def __init__(self, folder, port=None, password=None):
        self.folder = os.path.abspath(folder)
        self.port = port or free_port()
        self.password = password or secrets.token_urlsafe(16)
        self.url = f"bolt://127.0.0.1:{self.port}/graph"
        self.environment = {
            "NEO4J_USERNAME": "root",
            "NEO4J_PASSWORD": self.password,
        }
        self.process = None
        self.start()

    def start(self):
        """Start the process, and wait until it answers."""
        script = os.path.abspath(__file__)
        words = [sys.executable, script, self.folder, str(self.port)]
        os.makedirs(self.folder, exist_ok=True)
        self.process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=self.folder,  # it keeps a log where it is started
            env=os.environ | self.environment,
        )
        for line in self.process.stdout:
            if line.startswith(b"serving"):
                return
        raise RuntimeError("the server did not start: is arcadedb-embedded installed?")

    def kill(self):
        """End it at once, as a crash does."""
        self.process.kill()
        self._end()

    def stop(self):
        """Let it stand still, with its connections open."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """Let it work again."""
        self.process.send_signal(signal.SIGCONT)

    def close(self):
        """End it."""
        self.process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(20)
        self.process.kill()
        self._end()

    def _end(self):
        self.process.wait()
        self.process.stdout.close()
        with suppress(OSError):
            self.process.stdin.close()


def free_port():
    """Return a port of this machine that nobody listens at."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def serve(folder, port):
    """Serve until standard input is closed."""
    from arcadedb_embedded.server import ArcadeDBServer

    settings = {
        "host": "127.0.0.1",
        "http_port": free_port(),
        "server_plugins": "Bolt:com.arcadedb.bolt.BoltProtocolPlugin",
        "bolt_host": "127.0.0.1",
        "bolt_port": port,
    }
    server = ArcadeDBServer(
        folder,
        root_password=os.environ["NEO4J_PASSWORD"],
        config=settings,
        jvm_kwargs={"heap_size": "1g"},
    )
    server.start()
    try:
        server.create_database("graph")
    except Exception:  # it is there already
        server.get_database("graph")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        time.sleep(0.1)
    print(f"serving bolt://127.0.0.1:{port}/graph", flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    serve(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else free_port())

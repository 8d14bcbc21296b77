"""A Bolt server for tests: one of their own, or that which DASKGNN_NEO4J_URI names."""

import os
import sys
from contextlib import contextmanager
from pathlib import Path

from objectstores import in_environment

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from bolt_server import BoltServer

REAL = os.environ.get("DASKGNN_NEO4J_URI")


class RealServer:
    """Someone's Neo4j: its graph of daskgnn is replaced, nothing else in it is."""

    def __init__(self):
        names = "NEO4J_USERNAME", "NEO4J_PASSWORD"
        self.url = REAL
        self.environment = {name: os.environ.get(name, "") for name in names}
        self.password = self.environment["NEO4J_PASSWORD"]

    def close(self):
        """Leave it as it is."""


@contextmanager
def bolt_server(folder):
    """Have a server, whose credentials are in the environment."""
    server = RealServer() if REAL else BoltServer(folder)
    try:
        with in_environment(server.environment):
            yield server
    finally:
        server.close()

"""Results that are given up on leave the client as it was."""

import time
from contextlib import suppress

from daskgnn.cluster.connection import begin_gather


def late(value):
    time.sleep(0.01)
    return value


def test_results_come_after_some_were_given_up_on(cluster):
    client = cluster(1)
    for i in range(20):
        first, second = (client.submit(late, (i, j), pure=False) for j in range(2))
        coming = begin_gather(client, first)
        with suppress(TimeoutError):
            coming.result(0)
        assert client.gather(second) == (i, 1)
        assert coming.result(60) == (i, 0)

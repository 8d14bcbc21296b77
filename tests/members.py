"""Members of a gang in threads of this process; peers are reached through mailboxes."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import SimpleNamespace

from daskgnn.dataflow.steps.gang import PLUGIN, GangWorkerPlugin, Mailbox, run_member
from daskgnn.dataflow.steps.method import WindowSteps
from daskgnn.dataflow.steps.peers import Gang

LATE = 20.0


class Member(GangWorkerPlugin):
    """A plugin whose worker is a thread."""

    def __init__(self, loop, others):
        self.worker = SimpleNamespace(loop=SimpleNamespace(asyncio_loop=loop))
        self.mailbox = Mailbox()
        self.others = others

    async def send(self, address, **message):
        content = message.pop("content").data
        self.others[address].put(**message, content=content)


async def delivered():
    """Wait for messages that nobody waits for: members give up and go."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    await asyncio.gather(*others)


class Members:
    """Runs gangs; `patch` is a `monkeypatch` that tells each thread who it is."""

    def __init__(self, loop, patch):
        self.loop, self.here = loop, threading.local()
        patch.setattr(
            "daskgnn.dataflow.steps.gang.get_worker",
            lambda: SimpleNamespace(plugins={PLUGIN: self.here.plugin}, address=""),
        )

    def run(
        self, method, parts, state, given, options, *, absent=(), form_seconds=LATE
    ):
        """Return each present member's outcome, or what it has raised.

        `parts` are those of each member, `given` the programs and the batches of all.
        """
        addresses = [f"member-{i}" for i in range(len(parts))]
        members = tuple(zip(addresses, parts, strict=True))
        gang = Gang("attempt", members, form_seconds, step_seconds=LATE)
        steps = WindowSteps(method, ("run", 0), state, (), (), options)
        plugins = {}
        plugins.update({a: Member(self.loop, plugins) for a in addresses})

        def member(me):
            self.here.plugin = plugins[addresses[me]]
            mine = [[each[p] for p in parts[me]] for each in given]
            return run_member(steps, gang, me, *mine)

        present = [i for i in range(len(parts)) if i not in absent]
        with ThreadPoolExecutor(len(parts)) as pool:
            futures = [pool.submit(member, i) for i in present]
            outcomes = [f.exception(LATE) or f.result() for f in futures]
        asyncio.run_coroutine_threadsafe(delivered(), self.loop).result(LATE)
        assert not any(plugins[addresses[i]].mailbox._letters for i in present)
        return outcomes


@contextmanager
def running_members(patch):
    """Return what runs gangs, with a loop that carries their messages."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield Members(loop, patch)
    asyncio.run_coroutine_threadsafe(delivered(), loop).result(LATE)
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()

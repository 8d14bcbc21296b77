"""Time to recover from a loss, and steps computed again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

Event = dict[str, Any]


class Recoveries:
    """Finds out when a run has recovered from lost workers."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Steps that have been submitted and not returned."""
        self._losses: list[float] = []
        self._workers = self._schedulers = self._redone = 0

    def lost_scheduler(self, when: float) -> None:
        """Record the loss of the scheduler: steps in flight are done again."""
        self._losses.append(when)
        self._schedulers += 1
        self._redone = max(self._redone, self.in_flight)
        self.in_flight = 0

    def redid(self, steps: int) -> None:
        """Record that steps were done again after a loss."""
        self._redone = max(self._redone, steps)

    def events(
        self,
        events: Sequence[Event],
        first_step: int,
        began: float,
        finished: Sequence[float],
        step_seconds: float,
        *,
        abandoned: bool,
    ) -> list[Event]:
        """Return the events with those that follow from them.

        Parameters
        ----------
        events : sequence of dict
            What happened until the end of a window.
        first_step : int
            Of that window.
        began : float
            When its steps were submitted, seconds since the epoch.
        finished : sequence of float
            When each of its steps was done, for good.
        step_seconds : float
            What a step took before.
        abandoned : bool
            Whether its steps were begun and given up once.
        """
        out: list[Event] = []
        for event in events:
            if event["event"] != "worker_lost":
                out.append(event)
                continue
            lost = event["time"]
            done = sum(end <= lost for end in finished)
            out.append({**event, "step": first_step + done})
            self._losses.append(lost)
            self._workers += 1
            if lost > began:
                again = len(finished)  # of the window's steps, at most
                if step_seconds:
                    again = min(again, int((lost - began) / step_seconds) + 1)
                # Steps follow each other: if one was kept, all before it were.
                kept = done if not abandoned else 0
                self._redone = max(self._redone, 0 if kept else again)
        after = [end for end in finished if self._losses and end > max(self._losses)]
        if after:
            out.append(
                {
                    "event": "recovered",
                    "workers": self._workers,
                    "schedulers": self._schedulers,
                    "seconds": round(min(after) - min(self._losses), 3),
                    "steps_redone": self._redone,
                }
            )
            self._losses = []
            self._workers = self._schedulers = self._redone = 0
        return out

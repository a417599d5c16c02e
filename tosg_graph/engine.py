"""Where shards are worked on: in this process, in several processes of this machine, or as tasks of a Ray cluster.

A shard is what one task needs: the path of a file, some blocks of the store, some cells. The same function answers
for a shard wherever it runs, and answers come in the order of the shards, so that the result does not know the engine.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tosg_graph.workers import Promise, Submit, here

SHARD_BLOCKS = 16  # of the store per task: 262,144 cells, and about one file of counts


@dataclass(frozen=True)
class Engine:
    """A way to have shards worked on.

    Parameters
    ----------
    submit
        ``submit(function, *arguments)``; see `tosg_graph.workers.Submit`.
    ahead
        Tasks that may be under way beside the one that is waited for; 0: each is done when its answer is asked for.
    check
        Raises `EngineError` where a machine cannot do the tasks, or does not see one of these paths.
    share
        Puts a value where every task gets it without being sent it again; what it returns is given to ``submit``.
    split
        Blocks of the store -> those of each task.
    elsewhere
        Whether tasks run in other processes, so that what they make must be on a disk.
    """

    submit: Submit
    ahead: int = 0
    check: Callable[[Sequence[Path]], None] = lambda paths: None
    share: Callable[[Any], Any] = lambda value: value
    split: Callable[[Sequence[int]], list[list[int]]] = lambda blocks: [list(blocks)]
    elsewhere: bool = True

    def map(
        self, function: Callable[..., Any], shards: Iterable[tuple[Any, ...]], at_most: int | None = None
    ) -> Generator[Any]:
        """Yield ``function(*shard)`` of each shard, in their order; what is left when it is closed is cancelled.

        Parameters
        ----------
        at_most
            Answers that may be held beside the one that is waited for, where they are large.
        """
        ahead = self.ahead if at_most is None else min(self.ahead, at_most)
        waiting: deque[Promise] = deque()
        try:
            for shard in shards:
                waiting.append(self.submit(function, *shard))
                if len(waiting) > ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except BaseException:
            give_up(waiting)
            raise


LOCAL = Engine(here, elsewhere=False)


def give_up(promises: Iterable[Promise]) -> None:
    """Cancel what nobody will ask for; the last first, so that none begins because one before it was cancelled."""
    for promise in reversed([*promises]):
        promise.cancel()


def split_blocks(blocks: Sequence[int]) -> list[list[int]]:
    """Cut blocks into runs of `SHARD_BLOCKS`, at least one, the same however many machines there are."""
    ordered = sorted(blocks)
    return [ordered[k : k + SHARD_BLOCKS] for k in range(0, max(1, len(ordered)), SHARD_BLOCKS)]

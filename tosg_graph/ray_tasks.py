"""Shards as tasks of a Ray cluster: one that runs at an address, or one of this machine alone for the time of the work.

Tasks of a worker that dies are done again. What a task is given and returns goes through Ray; files go through the
disks and buckets that all machines see. No secret is an argument: credentials come from each machine's environment.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tosg_graph.engine import Engine, split_blocks
from tosg_graph.errors import EngineError, TosgError

MAX_RETRIES = 3  # of a task whose worker died
_PACKAGE = "tosg-graph"
_CONNECT_SECONDS = 5
_CANCEL_SECONDS = 10
_CHECK_SECONDS = 60  # a worker has to start and to import Ray
# Ray speaks gRPC. A server of HTTP/2 answers this greeting with its settings, anything else does not.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_SETTINGS_FRAME = 4
_QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}


@contextmanager
def ray_engine(address: str | None = None) -> Iterator[Engine]:
    """Yield an engine whose tasks run on a Ray cluster; what is under way at the end is dropped.

    Parameters
    ----------
    address
        ``host:port`` of a cluster that this machine is part of; None for the one that this process is connected to,
        else for one of this machine alone, which ends with the block.

    Raises
    ------
    EngineError
        If Ray is not installed, or the cluster cannot be reached or has no processor.
    """
    ray = _imported()
    ours = not ray.is_initialized()
    try:
        if ours:
            _connect(ray, address)
        elif address not in (None, ray.get_runtime_context().gcs_address):
            raise EngineError(
                f"This process is connected to the Ray cluster at {ray.get_runtime_context().gcs_address}, not to "
                f"{address}. Call ray.shutdown() first."
            )
        cpus = int(ray.cluster_resources().get("CPU", 0))
        if not cpus:
            raise EngineError(f"The Ray cluster at {address} has no processors. Add a machine: ray start")
        yield Engine(
            submit=_submit(ray),
            ahead=2 * cpus,
            check=lambda paths: _check_nodes(ray, paths),
            share=ray.put,
            split=split_blocks,
        )
    finally:
        if ours:
            ray.shutdown()  # with it, Ray ends the tasks of this process


# --------------------------------------------------------------------------- connection


def _imported() -> Any:
    os.environ.update({**_QUIET, **os.environ})  # Ray reads them when it is imported
    try:
        import ray
    except ImportError as error:
        raise EngineError("--engine ray needs Ray: pip install 'tosg-graph[ray]'") from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    if address:
        _check_address(address)
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            **({} if address else {"include_dashboard": False}),
        )
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise EngineError(
            f"The Ray cluster at {address or 'this machine'} cannot be used: {_one_line(error)}. The command must run "
            "on a machine of the cluster: ray start --address=HOST:PORT"
        ) from error


def _check_address(address: str) -> None:
    """Refuse at once what Ray would try to reach for minutes."""
    host, colon, port = address.rpartition(":")
    if "://" in address or not colon or not host or not port.isdigit():
        raise EngineError(
            f"{address!r} is no address of a Ray cluster. Write HOST:PORT, such as 10.0.0.1:6379."
        )
    try:
        with socket.create_connection((host, int(port)), timeout=_CONNECT_SECONDS) as probe:
            probe.settimeout(_CONNECT_SECONDS)
            probe.sendall(_GREETING)
            answer = probe.recv(9)
    except (OSError, OverflowError) as error:
        raise EngineError(
            f"No Ray cluster answers at {address}: {_one_line(error)}. Start one with `ray start --head "
            f"--port={port}`, or ask `ray status` for its address."
        ) from error
    if len(answer) < 4 or answer[3] != _SETTINGS_FRAME:
        raise EngineError(
            f"What answers at {address} is not Ray. `ray status`, on a machine of the cluster, names its address."
        )


# --------------------------------------------------------------------------- tasks


class _Task:
    """The answer of a task, when it is there."""

    def __init__(self, ray: Any, ref: Any) -> None:
        self._ray, self._ref = ray, ref

    def result(self) -> Any:
        return _answer(self._ray, self._ref)

    def cancel(self) -> bool:
        """Interrupt it, and wait until it writes no more."""
        self._ray.cancel(self._ref)
        ended, _ = self._ray.wait([self._ref], timeout=_CANCEL_SECONDS)
        if not ended:
            self._ray.cancel(self._ref, force=True)
        return bool(ended)


def _submit(ray: Any) -> Callable[..., _Task]:
    remote = ray.remote(num_cpus=1, max_retries=MAX_RETRIES)(_call)
    return lambda function, *arguments: _Task(ray, remote.remote(function, *arguments))


def _call(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _answer(ray: Any, ref: Any, timeout: float | None = None) -> Any:
    """What a task returned, or its own error instead of the trace that Ray makes of it."""
    try:
        return ray.get(ref, timeout=timeout)
    except ray.exceptions.RayTaskError as error:
        # An argument that could not be unpickled is wrapped once more.
        cause = getattr(error.cause, "client_exc", error.cause)
        if isinstance(cause, TosgError):
            raise cause from None
        raise
    except ray.exceptions.WorkerCrashedError as error:
        raise EngineError(
            f"A Ray worker died {MAX_RETRIES + 1} times at the same work, perhaps for want of memory. What was "
            "complete is kept; run this again on machines with more memory, or with fewer processors per machine."
        ) from error
    except ray.exceptions.RayError as error:
        raise EngineError(
            f"The Ray cluster failed: {_one_line(error)}. What was complete is kept; run this again."
        ) from error


def _check_nodes(ray: Any, paths: Sequence[Path]) -> None:
    """Have every machine say which version of this package it has, and which of the paths it does not see."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def looked(names: list[str]) -> tuple[str | None, str | None]:
        from importlib import metadata
        from pathlib import Path

        missing = next((name for name in names if not Path(name).exists()), None)
        try:
            return metadata.version("tosg-graph"), missing
        except metadata.PackageNotFoundError:
            return None, missing

    # A function inside a function travels by value: it runs where another version is installed, or none.
    remote = ray.remote(num_cpus=0, max_retries=MAX_RETRIES)(looked)
    nodes = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
    asked = {
        node["NodeID"]: remote.options(
            scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        ).remote([str(path) for path in paths])
        for node in nodes
    }
    for node in nodes:
        name = f"{node['NodeManagerHostname']} ({node['NodeManagerAddress']})"
        theirs, missing = _answer(ray, asked[node["NodeID"]], _CHECK_SECONDS)
        _refuse_node(name, theirs, missing)


def _refuse_node(name: str, theirs: str | None, missing: str | None) -> None:
    if theirs != our_version():
        raise EngineError(
            f"The machine {name} of the Ray cluster has {_PACKAGE} {theirs or '(not installed)'}, this one "
            f"{our_version()}. Install the same version on all."
        )
    if missing:
        raise EngineError(
            f"The machine {name} of the Ray cluster does not see {missing}. Put it on a disk that all machines mount "
            "at the same path; a store may be in a bucket (TOSG_STORE=s3://...)."
        )


def our_version() -> str | None:
    """Version of this package as installed here."""
    try:
        return version(_PACKAGE)
    except PackageNotFoundError:
        return None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()).rstrip(".")[:300]

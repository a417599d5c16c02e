"""`Graph`: a connected driver; rows out, statements in, errors in the words of the program."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date, datetime, time, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from tosg_graph import server
from tosg_graph.errors import QueryError, ServerError
from tosg_graph.progress import Progress, silent
from tosg_graph.server import ServerAddress
from tosg_graph.settings import Settings

if TYPE_CHECKING:
    import neo4j
    import pyarrow as pa

T = TypeVar("T")
_FETCH_ROWS = 10_000
_EXPLAIN = "EXPLAIN\n"  # a line of its own, so that the caret of an error points into the user's text


class Graph:
    """Connection to one database; use it as a context manager, or call `close`.

    Parameters
    ----------
    settings, address
        What it was opened with, and the server it found.
    driver
        The Neo4j driver, for what the methods here do not do.
    """

    def __init__(self, settings: Settings, address: ServerAddress, driver: neo4j.Driver) -> None:
        self.settings = settings
        self.address = address
        self.driver = driver

    @classmethod
    def connect(cls, settings: Settings, progress: Progress | None = None) -> Graph:
        """Connect to the named server, or to the local one, which is started if need be.

        Raises
        ------
        ServerError
            In one line: the server cannot be started or reached, or refuses the password.
        """
        address = server.locate(settings, progress)
        return cls(settings, address, _open_driver(settings, address))

    @property
    def is_local(self) -> bool:
        """Whether the server is ours to stop and start, as the bulk import needs."""
        return self.settings.uri is None

    def rows(self, statement: str, **parameters: object) -> list[dict[str, Any]]:
        """Run ``statement`` in read access mode; one dict per row, nodes and edges as the driver has them.

        Raises
        ------
        QueryError
            The server refuses the statement; the caret line of a syntax error is kept.
        ServerError
            The server does not answer.
        """
        keys, records = self._read(statement, parameters)
        return [dict(zip(keys, record, strict=True)) for record in records]

    def columns(self, statement: str, **parameters: object) -> pa.Table:
        """Run ``statement`` in read access mode; one Arrow column per returned name, lists as lists.

        Raises
        ------
        QueryError
            As `rows`, or a column holds nodes, relationships, or values of several types.
        """
        import pyarrow as pa

        keys, records = self._read(statement, parameters)
        arrays = []
        for number, key in enumerate(keys):
            values = [record[number] for record in records]
            try:
                arrays.append(pa.array(values))
            except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
                kinds = sorted({type(v).__name__ for v in values if v is not None})
                raise QueryError(
                    f"Column {key!r} holds {', '.join(kinds)}, which is not one type of plain value. "
                    "Return properties (n.id, n.name) or one type."
                ) from error
        return pa.table(arrays, names=keys)

    def write(self, statement: str, **parameters: object) -> neo4j.ResultSummary:
        """Run ``statement`` in a write transaction, again after a passing failure, and return its counters.

        Raises
        ------
        QueryError, ServerError
            As `rows`. Nothing of the statement is kept then.
        """

        def work(transaction: neo4j.ManagedTransaction) -> neo4j.ResultSummary:
            return _send(transaction, statement, parameters).consume()

        with self._errors(), self.driver.session(database=self._database) as session:
            return session.execute_write(work)

    def explain(self, statement: str, parameters: dict[str, Any] | None = None) -> neo4j.ResultSummary:
        """Have the server plan ``statement`` without running it; its ``query_type`` says what it would do."""
        import neo4j

        def work(transaction: neo4j.ManagedTransaction) -> neo4j.ResultSummary:
            return _send(transaction, _EXPLAIN + statement, parameters or {}).consume()

        with (
            self._errors(explained=True),
            self.driver.session(
                database=self._database,
                default_access_mode=neo4j.READ_ACCESS,
                notifications_min_severity="WARNING",  # they name labels and properties that do not exist
            ) as session,
        ):
            return session.execute_read(work)

    def restart_around(self, work: Callable[[], T], progress: Progress | None = None) -> T:
        """Stop the local server, do ``work``, start it again and reconnect, also when ``work`` fails."""
        if not self.is_local:
            raise ServerError(f"{self.address.uri} was not started by tosg, so tosg does not stop it.")
        progress = progress or silent
        self.driver.close()
        server.stop(self.settings, progress)
        try:
            return work()
        finally:
            self.address = server.locate(self.settings, progress)
            self.driver = _open_driver(self.settings, self.address)

    def close(self) -> None:
        """Close the connection; the server keeps running."""
        self.driver.close()

    def __enter__(self) -> Graph:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    def _database(self) -> str | None:
        return server.DATABASE if self.is_local else None  # of a named server: the user's home database

    def _read(self, statement: str, parameters: dict[str, Any]) -> tuple[list[str], list[list[Any]]]:
        import neo4j

        def work(transaction: neo4j.ManagedTransaction) -> tuple[list[str], list[list[Any]]]:
            result = _send(transaction, statement, parameters)
            keys = list(result.keys())
            return keys, [[_plain(value) for value in record.values()] for record in result]

        with (
            self._errors(),
            self.driver.session(
                database=self._database, default_access_mode=neo4j.READ_ACCESS, fetch_size=_FETCH_ROWS
            ) as session,
        ):
            return session.execute_read(work)

    @contextmanager
    def _errors(self, explained: bool = False) -> Iterator[None]:
        from neo4j.exceptions import CypherSyntaxError, DriverError, Neo4jError

        try:
            yield
        except CypherSyntaxError as error:  # several lines: the last has the caret under the place
            message = error.message or str(error)
            raise QueryError(_without_explain(message) if explained else message) from error
        except (Neo4jError, DriverError) as error:
            _raise_ours(self.settings, self.address, error)


def _open_driver(settings: Settings, address: ServerAddress) -> neo4j.Driver:
    import logging

    import neo4j
    from neo4j.exceptions import DriverError, Neo4jError

    # What `explain` asks for is answered in our own words; the driver would print it too.
    logging.getLogger("neo4j.notifications").setLevel(logging.ERROR)

    auth = (address.user, address.password) if address.password else None
    try:
        driver = neo4j.GraphDatabase.driver(
            address.uri,
            auth=auth,
            connection_timeout=10.0,
            connection_acquisition_timeout=30.0,
            max_transaction_retry_time=30.0,
            keep_alive=True,
            liveness_check_timeout=60.0,
            notifications_min_severity="OFF",
            warn_notification_severity="OFF",
            user_agent="tosg-graph",
        )
    except (DriverError, ValueError) as error:
        raise server.unreachable(settings, address, error) from error
    try:
        driver.verify_connectivity()
    except (DriverError, Neo4jError, ValueError) as error:
        driver.close()
        raise server.unreachable(settings, address, error) from error
    except BaseException:
        driver.close()
        raise
    return driver


def _raise_ours(settings: Settings, address: ServerAddress, error: Exception) -> NoReturn:
    from neo4j.exceptions import (
        AuthError,
        DriverError,
        Neo4jError,
        ServiceUnavailable,
        SessionExpired,
    )

    if isinstance(error, (AuthError, ServiceUnavailable, SessionExpired)):
        raise server.unreachable(settings, address, error) from error
    if isinstance(error, Neo4jError):
        code, message = error.code or "", " ".join((error.message or str(error)).split())
        if "OutOfMemory" in code:
            raise QueryError(
                f"The statement needs more memory than the server has: {message} Ask for less at a time, "
                "or set TOSG_NEO4J_HEAP higher and restart the server."
            ) from error
        if "TransactionTimedOut" in code:
            raise QueryError(f"The statement was stopped: {message} Ask for less at a time.") from error
        if code.endswith("Statement.AccessMode"):
            raise QueryError(f"Only reading is allowed here: {message}") from error
        if code.startswith("Neo.TransientError.General") or "DatabaseUnavailable" in code:
            raise ServerError(f"The server {address.uri} cannot work now: {message}") from error
        raise QueryError(message) from error
    if isinstance(error, DriverError):
        raise QueryError(f"The statement or its parameters cannot be sent: {error}") from error
    raise error


def _without_explain(message: str) -> str:
    """Move line and offset back into the user's text, which was sent behind `_EXPLAIN`."""

    def moved(match: re.Match[str]) -> str:
        line, column, offset = (int(group) for group in match.groups())
        return f"(line {line - 1}, column {column} (offset: {offset - len(_EXPLAIN)}))"

    return re.sub(r"\(line (\d+), column (\d+) \(offset: (\d+)\)\)", moved, message)


def _send(transaction: neo4j.ManagedTransaction, statement: str, parameters: dict[str, Any]) -> neo4j.Result:
    # The driver types statements as LiteralString against injection; ours come from cypher/*.cypher, and the
    # user's own are run in read access mode.
    text: Any = statement
    try:
        return transaction.run(text, parameters)
    except (OverflowError, TypeError, ValueError) as error:
        raise QueryError(
            f"A parameter cannot be sent to Neo4j: {error}. Use plain values, whole numbers below 2^63."
        ) from error


def _plain(value: Any) -> Any:
    """Replace Neo4j's own dates and times by Python's, also within lists and maps."""
    if isinstance(value, (str, int, float, type(None))):
        return value
    if isinstance(value, list):
        if value and isinstance(value[0], (str, int, float)):
            return value  # Neo4j's stored lists are of one type; a mixed one holds no dates worth the walk
        return [_plain(v) for v in value]
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (date, datetime, time, timedelta)):
        return value
    to_native = getattr(value, "to_native", None)
    return to_native() if to_native else value

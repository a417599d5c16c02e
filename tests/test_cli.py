"""The command line: what people type, and what they read when it is wrong."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tosg_graph import cli
from tosg_graph.cli import options
from tosg_graph.errors import QueryError

BIN = Path(sys.executable).parent


def tosg(*arguments: str, code: int = 0) -> str:
    """Run a command in process and return what it printed, stdout and stderr together."""
    done = CliRunner().invoke(cli.main, list(arguments), catch_exceptions=True)
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


COMMANDS = [
    ("db", "start"),
    ("db", "stop"),
    ("db", "status"),
    ("db", "console"),
    ("kg", "counts"),
    ("kg", "diff"),
    ("kg", "dump"),
    ("kg", "export"),
    ("kg", "merges"),
    ("kg", "prune"),
    ("kg", "releases"),
    ("kg", "restore"),
    ("load",),
    ("gds", "pagerank"),
    ("gds", "degree"),
    ("gds", "betweenness"),
    ("gds", "wcc"),
    ("gds", "louvain"),
    ("gds", "leiden"),
    ("gds", "labelpropagation"),
    ("gds", "fastrp"),
    ("gds", "node2vec"),
    ("gds", "list"),
    ("gds", "remove"),
    ("search",),
    ("annotate",),
    ("embed",),
    ("cells", "add"),
    ("cells", "list"),
    ("cells", "export"),
    ("cells", "metacell"),
    ("cells", "pseudobulk"),
    ("cells", "rows"),
    ("cells", "summarize"),
    ("cells", "compact"),
    ("cells", "vacuum"),
    ("cells", "verify"),
    ("cells", "versions"),
    ("cells", "terms"),
    ("cohort",),
    ("query",),
    ("export",),
    ("convert",),
    ("train", "classify"),
    ("train", "pretrain"),
    ("evaluate",),
    ("signal", "find"),
    ("signal", "compare"),
    ("signal", "explain"),
    ("signal", "list"),
    ("signal", "remove"),
    ("signal", "write"),
    ("demo",),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command: tuple[str, ...]) -> None:
    text = tosg(*command, "--help")
    assert text.startswith("Usage:")
    assert "--debug" in text


def test_every_command_is_in_the_list_above() -> None:
    import click

    found = set()
    for name, command in cli.main.commands.items():
        if isinstance(command, click.Group):
            found |= {(name, sub) for sub in command.commands}
        else:
            found.add((name,))
    assert found == set(COMMANDS)


def test_both_entry_points_are_installed() -> None:
    for name in ("tosg", "tosg-export"):
        done = subprocess.run([str(BIN / name), "--help"], capture_output=True, text=True, check=True)
        assert done.stdout.startswith(f"Usage: {name}")


EXPORT = ("export", "--query", "MATCH (n) RETURN n", "--out", "x", "--label", "y")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("query",), "tosg query --list"),
        (("load",), "tosg load --list"),
        (("query", "RETURN 1", "--param", "novalue"), "not NAME=VALUE"),
        (("cells", "add", "a.h5ad", "b.h5ad", "--dataset", "x"), "one file"),
        (("cells", "add", "a.h5ad", "--column", "cell_type"), "not NAME=VALUE"),
        (("export", "--query", "MATCH (n) RETURN n", "--out", "x"), "--label"),
        ((*EXPORT, "--correct", "combat"), "--correct combat needs --batch COLUMN"),
        ((*EXPORT, "--batch", "run"), "belong to --correct combat"),
        (("search", "x", "--limit", "0"), "--limit"),
        (("kg", "restore", "no-such-folder"), "no-such-folder"),
    ],
    ids=[
        "no query",
        "no source",
        "no value",
        "one dataset, two files",
        "half a column",
        "no label",
        "no batch",
        "a batch and no method",
        "limit 0",
        "no dump",
    ],
)
def test_misuse_exits_with_2_and_says_what_to_do(arguments: tuple[str, ...], says: str) -> None:
    assert says in tosg(*arguments, code=2)


def test_an_unknown_source_is_one_line_with_the_nearest_name() -> None:
    text = tosg("load", "hngc", code=1)
    assert text.startswith("Error: ")
    assert len(text.strip().splitlines()) == 1
    assert "'hgnc'" in text


def test_a_bad_address_is_one_line() -> None:
    text = tosg("query", "RETURN 1 AS one", "--uri", "http://127.0.0.1:7474", code=1)
    assert "bolt://" in text
    assert len(text.strip().splitlines()) == 1


def test_a_bad_memory_setting_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOSG_NEO4J_HEAP", "lots")
    text = tosg("db", "status", code=1)
    assert "TOSG_NEO4J_HEAP" in text
    assert "2g" in text


def test_a_server_that_is_down_is_one_line() -> None:
    text = tosg("query", "RETURN 1 AS one", "--uri", "bolt://127.0.0.1:9", "--password", "x", code=1)
    assert "127.0.0.1:9" in text
    assert len(text.strip().splitlines()) == 1


def test_parameters_are_read_as_json_where_they_are_json() -> None:
    pairs = ("a=1", "b=true", 'c=["x", "y"]', "d=plain text", "e=1.5", "f=")
    expected = {"a": 1, "b": True, "c": ["x", "y"], "d": "plain text", "e": 1.5, "f": ""}
    assert options.parse_parameters(pairs) == expected


def test_the_list_of_sources_shows_version_licence_and_size() -> None:
    text = tosg("load", "--list")
    assert "hgnc" in text
    assert "CC0" in text
    assert "size_mb" in text


def test_the_list_of_questions_shows_their_parameters() -> None:
    assert "$" in tosg("query", "--list")


@pytest.mark.parametrize(
    "command",
    [
        ("kg", "dump"),
        ("kg", "export"),
        ("export", "--query", "MATCH (g:Gene) RETURN g", "--label", "cell_type", "--out"),
    ],
    ids=["dump", "KGX", "bundle"],
)
@pytest.mark.parametrize("named", ["whole", "~"])
def test_a_folder_that_exists_is_refused_before_a_server_is_started(
    command: tuple[str, ...], named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tosg_graph.server.start", lambda *_: pytest.fail("a server was started"))
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "there").mkdir()
    out = "~/there" if named == "~" else str(tmp_path / "there")
    assert f"{tmp_path / 'there'} exists already and is not overwritten" in tosg(*command, out, code=1)
    (tmp_path / "file").touch()
    assert f"{tmp_path / 'file'} is a file." in tosg(*command, str(tmp_path / "file" / "out"), code=1)


def test_ctrl_c_behind_an_error_of_the_connection_is_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            try:
                raise OSError("the connection is half closed")
            except OSError as error:
                raise QueryError("The statement failed.") from error

    def torn() -> None:
        try:
            raise KeyboardInterrupt
        finally:
            raise BufferError("the driver was reading")

    for work, code, says in (
        (broken, options.INTERRUPTED, "Interrupted."),
        (torn, options.INTERRUPTED, "Interrupted."),
        (fail, 1, "Error: The"),
    ):
        with pytest.raises(SystemExit) as ended, options.errors(debug=False):
            work()
        assert ended.value.code == code
        assert capsys.readouterr().err.startswith(says)


def test_ctrl_c_that_a_library_turned_into_an_error_of_its_own_is_ctrl_c(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def swallowed() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            said = f"reading failed: {error!r}"
        raise ValueError(said)

    # A shell starts background jobs, such as these tests may be, with the signal ignored.
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(SystemExit) as ended, options.errors(debug=False):
            swallowed()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, outer)
    assert ended.value.code == options.INTERRUPTED
    assert capsys.readouterr().err.startswith("Interrupted.")


def fail() -> None:
    raise QueryError("The statement failed.")


def test_a_fault_of_the_program_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError), options.errors(debug=False):
        1 / 0  # noqa: B018  # the error is what is wanted


def test_ctrl_c_that_lands_in_a_finalizer_still_ends_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    class Connection:
        def __del__(self) -> None:
            signal.raise_signal(signal.SIGINT)  # Python prints what a finalizer raises and goes on

    @options.errors(debug=False)
    def command() -> None:
        Connection()
        time.sleep(30)

    # A shell starts background jobs, such as these tests may be, with the signal ignored.
    outer = signal.signal(signal.SIGINT, signal.default_int_handler)
    began = time.monotonic()
    try:
        with pytest.raises(SystemExit) as ended:
            command()
    finally:
        signal.signal(signal.SIGINT, outer)
    assert ended.value.code == options.INTERRUPTED
    assert time.monotonic() - began < 10
    assert "the same command goes on" in capsys.readouterr().err

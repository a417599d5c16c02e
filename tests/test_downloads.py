"""Fetching files: what is pinned arrives whole or not at all, and a failure is one line that says what to do.

Archives are made here; one test fetches a real one by name.
"""

from __future__ import annotations

import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from loaders import LOADERS
from tosg_graph.archives import is_safe_member
from tosg_graph.downloads import fetch
from tosg_graph.errors import DownloadError
from tosg_graph.hashes import sha256_of
from tosg_graph.settings import Settings, read_settings
from tosg_graph.types import FactsFile, InstalledFile, PackageFile, Source, SourceFile, UserFile, WebFile

ARCHIVE = "toy_facts-1.0-py3-none-any.whl"
MEMBER = "toy/facts.tsv"
CONTENT = b"a\tb\n1\t2\n"


@pytest.fixture
def own(tmp_path: Path) -> Settings:
    """Settings with a cache of this test."""
    return replace(read_settings(), cache=tmp_path / "cache")


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Folder that holds one package archive."""
    folder = tmp_path / "mirror" / "wheels"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / ARCHIVE, "w") as box:
        box.writestr(MEMBER, CONTENT)
        box.writestr("toy/other.tsv", b"no")
    return folder.parent


def source(*files: SourceFile) -> Source:
    named = {f"file{i}": file for i, file in enumerate(files)}
    return Source("toy", "Toy", "1", "CC0-1.0", "https://example.org", 0.1, named)


def pinned(archive: Path, member: str = MEMBER) -> PackageFile:
    return PackageFile("toy-facts", "1.0", archive.name, sha256_of(archive), member)


def files_in(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def one_line(error: pytest.ExceptionInfo[DownloadError]) -> str:
    text = str(error.value)
    assert "\n" not in text
    assert len(text) < 500
    return text


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pip is pointed at an index that is not there: what fails is the real pip."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_TIMEOUT", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")


# --------------------------------------------------------------------------- package archives


def test_a_member_is_read_out_of_an_archive_in_a_folder(own: Settings, mirror: Path) -> None:
    archive = mirror / "wheels" / ARCHIVE
    path = fetch(source(pinned(archive)), own, path=mirror)["file0"]
    assert path.read_bytes() == CONTENT
    assert path == own.cache / "sources" / sha256_of(archive) / MEMBER
    assert files_in(own.cache) == [f"sources/{sha256_of(archive)}/{MEMBER}"]  # nothing but the member


def test_the_archive_itself_can_be_the_path(own: Settings, mirror: Path) -> None:
    archive = mirror / "wheels" / ARCHIVE
    assert fetch(source(pinned(archive)), own, path=archive)["file0"].read_bytes() == CONTENT


def test_a_second_fetch_needs_neither_archive_nor_network(own: Settings, mirror: Path, no_pip: None) -> None:
    archive = mirror / "wheels" / ARCHIVE
    wanted = source(pinned(archive))
    first = fetch(wanted, own, path=mirror)["file0"]
    archive.unlink()
    assert fetch(wanted, own)["file0"] == first


def test_a_source_archive_works_too(own: Settings, tmp_path: Path) -> None:
    archive = tmp_path / "toy-facts-1.0.tar.gz"
    with tarfile.open(archive, "w:gz") as ball:
        entry = tarfile.TarInfo(MEMBER)
        entry.size = len(CONTENT)
        ball.addfile(entry, io.BytesIO(CONTENT))
    assert fetch(source(pinned(archive)), own, path=archive)["file0"].read_bytes() == CONTENT


def test_another_file_of_the_same_name_is_refused(own: Settings, mirror: Path) -> None:
    archive = mirror / "wheels" / ARCHIVE
    wanted = source(replace(pinned(archive), archive_sha256="0" * 64))
    with pytest.raises(DownloadError, match=r"has sha256 .*, pinned is 000000000000") as error:
        fetch(wanted, own, path=mirror)
    assert ARCHIVE in one_line(error)
    assert files_in(own.cache) == []


def test_a_half_downloaded_archive_is_refused(own: Settings, mirror: Path) -> None:
    archive = mirror / "wheels" / ARCHIVE
    wanted = source(pinned(archive))
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(DownloadError, match="has sha256") as error:
        fetch(wanted, own, path=mirror)
    one_line(error)
    assert files_in(own.cache) == []


def test_a_damaged_archive_in_the_cache_is_fetched_again(own: Settings, mirror: Path, no_pip: None) -> None:
    wanted = source(pinned(mirror / "wheels" / ARCHIVE))
    cached = own.cache / "packages" / ARCHIVE
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"half")
    with pytest.raises(DownloadError, match=r"pip could not download toy-facts 1\.0"):
        fetch(wanted, own)  # it does not take the damaged one
    assert fetch(wanted, own, path=mirror)["file0"].read_bytes() == CONTENT


def test_an_archive_that_is_none_is_one_line(own: Settings, tmp_path: Path) -> None:
    archive = tmp_path / ARCHIVE
    archive.write_bytes(b"this is no archive")
    with pytest.raises(DownloadError, match="is damaged") as error:
        fetch(source(pinned(archive)), own, path=archive)
    one_line(error)
    assert files_in(own.cache) == []


def test_a_member_that_is_not_there_is_one_line(own: Settings, mirror: Path) -> None:
    wanted = source(pinned(mirror / "wheels" / ARCHIVE, "toy/none.tsv"))
    with pytest.raises(DownloadError, match=r"has no file toy/none\.tsv") as error:
        fetch(wanted, own, path=mirror)
    one_line(error)
    assert files_in(own.cache) == []


@pytest.mark.parametrize("member", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil", ""])
def test_members_stay_inside_their_folder(own: Settings, tmp_path: Path, member: str) -> None:
    assert not is_safe_member(member)
    archive = tmp_path / ARCHIVE
    with zipfile.ZipFile(archive, "w") as box:
        box.writestr(member or "x", b"evil")
    with pytest.raises(DownloadError, match="leads out of the archive"):
        fetch(source(pinned(archive, member)), own, path=archive)
    assert files_in(tmp_path) == [ARCHIVE]


def test_ordinary_members_are_safe() -> None:
    assert all(is_safe_member(m) for m in ("a.tsv", "pkg/data/x-1.0.json", "pkg/a b.txt"))


def test_without_network_it_says_what_to_do(own: Settings, mirror: Path, no_pip: None) -> None:
    wanted = source(pinned(mirror / "wheels" / ARCHIVE))
    with pytest.raises(DownloadError, match=r"pip could not download toy-facts 1\.0") as error:
        fetch(wanted, own)
    assert "FOLDER" in one_line(error)
    assert files_in(own.cache) == []
    assert list((own.cache / "packages").iterdir()) == []  # no temporary folder either


def test_an_interrupted_extraction_leaves_nothing(
    own: Settings, mirror: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    wanted = source(pinned(mirror / "wheels" / ARCHIVE))
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", stop)
        with pytest.raises(KeyboardInterrupt):
            fetch(wanted, own, path=mirror)
    assert files_in(own.cache) == []
    assert fetch(wanted, own, path=mirror)["file0"].read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_one_line(own: Settings, mirror: Path) -> None:
    own.cache.write_bytes(b"a file where the folder should be")
    with pytest.raises(DownloadError, match=r"cannot be created .* TOSG_CACHE") as error:
        fetch(source(pinned(mirror / "wheels" / ARCHIVE)), own, path=mirror)
    one_line(error)


def test_a_real_package_is_fetched_by_name(own: Settings) -> None:
    shown: list[tuple[str, int, int | None]] = []
    wanted = LOADERS["liana"].SOURCE
    path = fetch(wanted, own, progress=lambda *step: shown.append(step))["resources"]
    assert path.read_bytes().startswith(b'"","source","target"')
    assert files_in(own.cache / "packages") == ["liana-1.10.0-py3-none-any.whl"]
    assert [(done, total) for _, done, total in shown] == [(0, 1), (1, 1)]


# --------------------------------------------------------------------------- other files


def test_an_installed_file_is_found(own: Settings) -> None:
    path = fetch(LOADERS["cl"].SOURCE, own)["terms"]
    assert path.name == "CL-ontology-v2026-03-26.json.zst"
    assert path.is_file()


def test_a_package_of_another_version_is_refused(own: Settings) -> None:
    file = InstalledFile("cellxgene-ontology-guide", "0.1", "cellxgene_ontology_guide/data/x")
    with pytest.raises(DownloadError, match=r"is version 1\.11\.1, not 0\.1; run pip install") as error:
        fetch(source(file), own)
    one_line(error)


def test_a_package_that_is_not_installed_is_named(own: Settings) -> None:
    with pytest.raises(DownloadError, match=r"no-such-package is not installed; run pip install"):
        fetch(source(InstalledFile("no-such-package", "1", "x")), own)


@pytest.mark.parametrize(("member", "found"), [("data/CL-ontology-*.zst", "[2-9]"), ("data/none.zst", "0")])
def test_an_installed_file_is_one_file(own: Settings, member: str, found: str) -> None:
    file = InstalledFile("cellxgene-ontology-guide", "1.11.1", f"cellxgene_ontology_guide/{member}")
    with pytest.raises(DownloadError, match=rf"has {found} files"):
        fetch(source(file), own)


def test_fact_tables_are_found_and_missed(own: Settings) -> None:
    assert fetch(source(FactsFile("signaling.tsv")), own)["file0"].is_file()
    with pytest.raises(DownloadError, match=r"none\.tsv is missing from this installation"):
        fetch(source(FactsFile("none.tsv")), own)


def test_a_file_that_only_the_user_has_is_asked_for(own: Settings) -> None:
    wanted = source(UserFile("*_full.tsv*", "https://example.org/get"))
    with pytest.raises(DownloadError, match=r"get \*_full\.tsv\* from https://example\.org/get and run tosg"):
        fetch(wanted, own)


def test_a_user_file_is_taken_as_file_or_found_in_a_folder(own: Settings, tmp_path: Path) -> None:
    wanted = source(UserFile("*_full.tsv*", "https://example.org/get"))
    (tmp_path / "in" / "deep").mkdir(parents=True)
    given = tmp_path / "in" / "deep" / "x_full.tsv.gz"
    given.write_bytes(b"")
    assert fetch(wanted, own, path=given)["file0"] == given
    assert fetch(wanted, own, path=tmp_path / "in")["file0"] == given
    (tmp_path / "in" / "y_full.tsv").write_bytes(b"")
    with pytest.raises(DownloadError, match=r"holds 2 files like \*_full\.tsv\*"):
        fetch(wanted, own, path=tmp_path / "in")


def test_a_path_that_leads_nowhere_is_refused(own: Settings, tmp_path: Path) -> None:
    user, facts = UserFile("a*", "https://example.org"), FactsFile("signaling.tsv")
    with pytest.raises(DownloadError, match="does not exist"):
        fetch(source(user), own, path=tmp_path / "none")
    with pytest.raises(DownloadError, match="takes no PATH"):
        fetch(source(facts), own, path=tmp_path)
    stray = tmp_path / "stray.txt"
    stray.write_bytes(b"")
    with pytest.raises(DownloadError, match=r"does not read stray\.txt; give a folder that holds a\*, b\*"):
        fetch(source(user, UserFile("b*", "https://example.org")), own, path=stray)


def test_a_given_file_stands_in_for_the_installed_one(own: Settings, tmp_path: Path) -> None:
    newer = WebFile("https://example.org/new.gaf", "new*.gaf*")
    wanted = replace(source(FactsFile("signaling.tsv")), instead={"file0": newer})
    assert fetch(wanted, own)["file0"].name == "signaling.tsv"
    given = tmp_path / "new_2026.gaf.gz"
    with pytest.raises(DownloadError, match=r"holds no file like new\*\.gaf\*; give one, or no PATH"):
        fetch(wanted, own, path=tmp_path)
    given.write_bytes(b"")
    assert fetch(wanted, own, path=given)["file0"] == given
    assert fetch(wanted, own, path=tmp_path)["file0"] == given
    stray = tmp_path / "stray.txt"
    stray.write_bytes(b"")
    with pytest.raises(DownloadError, match=r"does not read stray\.txt; give a folder that holds new"):
        fetch(wanted, own, path=stray)


def test_a_given_file_stands_in_for_a_pinned_one(own: Settings, mirror: Path) -> None:
    newer = WebFile("https://example.org/new.tsv", "new*.tsv")
    wanted = replace(source(pinned(mirror / "wheels" / ARCHIVE)), instead={"file0": newer})
    assert fetch(wanted, own, path=mirror)["file0"].name == "facts.tsv"
    given = mirror / "new_1.tsv"
    given.write_bytes(b"")
    assert fetch(wanted, own, path=mirror)["file0"] == given


def test_an_optional_file_may_be_missing(own: Settings, tmp_path: Path) -> None:
    home = "https://example.org"
    wanted = source(UserFile("a*", home), UserFile("b*", home, optional=True))
    (tmp_path / "a.txt").write_bytes(b"")
    assert list(fetch(wanted, own, path=tmp_path)) == ["file0"]
    assert fetch(wanted, own, path=tmp_path / "a.txt") == {"file0": tmp_path / "a.txt"}
    (tmp_path / "b.txt").write_bytes(b"")
    assert list(fetch(wanted, own, path=tmp_path)) == ["file0", "file1"]
    assert fetch(source(UserFile("b*", home, optional=True)), own) == {}
    with pytest.raises(DownloadError, match=r"holds no file like c\*; give the file itself, or get it from"):
        fetch(source(UserFile("c*", home)), own, path=tmp_path)

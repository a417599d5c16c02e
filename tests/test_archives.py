"""Archives from outside: checked before anything of them is opened."""

from __future__ import annotations

import io
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tosg_graph import archives
from tosg_graph.errors import DownloadError

GOOD = {"data/a.tsv": b"a\n", "b.tsv": b"b\n" * 1000}


def make_zip(path: Path, *names: str, link: str = "") -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as box:
        for name, content in (GOOD | dict.fromkeys(names, b"evil")).items():
            box.writestr(name, content)
        if link:
            entry = zipfile.ZipInfo(link)
            entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            box.writestr(entry, "/etc/passwd")
    return path


def make_tar(path: Path, *names: str, link: str = "", size: int | None = None) -> Path:
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as ball:
        for name, content in (GOOD | dict.fromkeys(names, b"evil")).items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            ball.addfile(entry, io.BytesIO(content))
        if link:
            entry = tarfile.TarInfo(link)
            entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
            ball.addfile(entry)
        if size is not None:
            entry = tarfile.TarInfo("big")
            entry.size = size
            ball.fileobj.write(entry.tobuf())  # type: ignore[union-attr]  # a header that promises the size
    return path


MAKERS: dict[str, Callable[..., Path]] = {"x.zip": make_zip, "x.tar.gz": make_tar, "x.tar": make_tar}


def left(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


@pytest.mark.parametrize("name", MAKERS)
def test_an_honest_archive_is_unpacked(tmp_path: Path, name: str) -> None:
    archives.unpack(MAKERS[name](tmp_path / name), tmp_path / "out")
    assert {n: (tmp_path / "out" / n).read_bytes() for n in left(tmp_path / "out")} == GOOD
    archives.extract("b.tsv", tmp_path / name, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == GOOD["b.tsv"]


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("evil", ["../evil", "/etc/evil", "a/../../evil", "..\\evil", "C:/evil"])
def test_a_path_that_leads_out_stops_everything(tmp_path: Path, name: str, evil: str) -> None:
    made = MAKERS[name](tmp_path / name, evil)
    for act in (
        lambda: archives.unpack(made, tmp_path / "out"),
        lambda: archives.extract("b.tsv", made, tmp_path / "b"),
    ):
        with pytest.raises(DownloadError, match="leads out of the archive") as error:
            act()
        assert "\n" not in str(error.value)
    assert left(tmp_path) == [name]


@pytest.mark.parametrize("name", MAKERS)
def test_a_link_stops_everything(tmp_path: Path, name: str) -> None:
    made = MAKERS[name](tmp_path / name, link="data/link")
    with pytest.raises(DownloadError, match="'data/link', which is a link"):
        archives.unpack(made, tmp_path / "out")
    assert left(tmp_path) == [name]


def test_a_bomb_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "RATIO_FROM", 1 << 20)
    with zipfile.ZipFile(tmp_path / "x.zip", "w", zipfile.ZIP_DEFLATED) as box:
        box.writestr("big", bytes(4 << 20))
    make_tar(tmp_path / "x.tar", size=1 << 40)
    for name in ("x.zip", "x.tar"):
        with pytest.raises(DownloadError, match=r"would become more than .* nothing was opened"):
            archives.unpack(tmp_path / name, tmp_path / "out")
    assert left(tmp_path) == ["x.tar", "x.zip"]


@pytest.mark.parametrize("name", MAKERS)
def test_half_an_archive_leaves_nothing(tmp_path: Path, name: str) -> None:
    made = MAKERS[name](tmp_path / name)
    made.write_bytes(made.read_bytes()[: made.stat().st_size // 3])
    with pytest.raises(DownloadError, match="damaged"):
        archives.unpack(made, tmp_path / "out")
    assert left(tmp_path) == [name]
    assert not (tmp_path / "out").exists()

"""Write the table of docs/sources.md from the loaders. Run: ``python scripts/make_sources_page.py``."""

from __future__ import annotations

from pathlib import Path

from loaders import LOADERS
from tosg_graph.types import FactsFile, InstalledFile, PackageFile, Source, SourceFile, WebFile

PAGE = Path(__file__).parents[1] / "docs" / "sources.md"
BEGIN, END = "<!-- table: made by scripts/make_sources_page.py -->", "<!-- end of table -->"


def main() -> None:
    """Replace the table between the two marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{sources_table()}\n{END}{after}", encoding="utf-8")


def sources_table() -> str:
    """Markdown table of all sources in load order."""
    rows = [_row(loader.SOURCE, loader.__doc__ or "") for loader in LOADERS.values()]
    head = "| key | source | version | licence | MB | gives | read from | terms and caveats |"
    return "\n".join([head, "|--|--|--|--|--:|--|--|--|", *rows])


def _row(source: Source, doc: str) -> str:
    gives = doc.split("\n", 1)[0]
    where = ", ".join(dict.fromkeys(_where(file) for file in source.files.values()))
    where += "".join(f", or your file `{file.pattern}`" for file in source.instead.values())
    demo = "" if source.in_demo else " *(not in the demo)*"
    cells = [
        f"`{source.key}`{demo}",
        f"[{source.title}]({source.homepage})",
        source.version,
        source.licence,
        f"{source.size_mb:g}",
        gives.rstrip("."),
        where,
        " ".join(filter(None, (source.terms, source.note))),
    ]
    return "| " + " | ".join(cells) + " |"


def _where(file: SourceFile) -> str:
    if isinstance(file, PackageFile | InstalledFile):
        return f"`{file.package}` {file.version}"
    if isinstance(file, FactsFile):
        return f"`loaders/facts/{file.name}`"
    if isinstance(file, WebFile):
        pinned = "pinned" if file.sha256 else "newest"
        return f"[the web]({file.url}) ({pinned})"
    return f"your file `{file.pattern}`"


if __name__ == "__main__":
    main()

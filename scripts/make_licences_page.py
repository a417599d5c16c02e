"""Write the table of docs/licences.md from the loaders. Run: ``python scripts/make_licences_page.py``."""

from __future__ import annotations

from pathlib import Path

from loaders import LOADERS
from tosg_graph.licences import ALL_OF, UNKNOWN, normal
from tosg_graph.types import Source

PAGE = Path(__file__).parents[1] / "docs" / "licences.md"
BEGIN, END = "<!-- table: made by scripts/make_licences_page.py -->", "<!-- end of table -->"


def main() -> None:
    """Replace the table between the two marks."""
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n{licences_table()}\n{END}{after}", encoding="utf-8")


def licences_table() -> str:
    """Markdown table of all sources in load order."""
    rows = [_row(loader.SOURCE) for loader in LOADERS.values()]
    return "\n".join(
        ["| key | source | `--license-allow` | licence as stated | terms |", "|--|--|--|--|--|", *rows]
    )


def _row(source: Source) -> str:
    name = normal(source.licence)
    known = " and ".join(f"`{part}`" for part in name.split(ALL_OF))
    known += ", or by `--sources`" if UNKNOWN in name else ""
    rows = " and each row's own" if source.own_licences else ""
    title = f"[{source.title}]({source.homepage})" if source.homepage else source.title
    return f"| `{source.key}` | {title} | {known}{rows} | {source.licence} | {source.terms} |"


if __name__ == "__main__":
    main()

"""Write the queries of Browser's guide anew from ``cypher/queries``; a test compares the file with what this writes."""

from __future__ import annotations

from pathlib import Path

from tosg_graph.browser import guide

GUIDE = Path(__file__).parent.parent / "tosg_graph" / "web" / "guide.html"

if __name__ == "__main__":
    GUIDE.write_text(guide(), encoding="utf-8")
    print(f"{GUIDE} written")

"""Write the golden bundle of format version 1: ``python tests/golden/v1/make.py FOLDER``.

It was run once. New code must read what lies here; a change of the format gets a folder of its own, and this
one is never written again.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import toy_bundle as toy

from tosg_graph.export import write_bundle

if __name__ == "__main__":
    out = Path(sys.argv[1])
    write_bundle(toy.selection(), toy.measured(), cohort="true", label="cell_type", out=out, seed=7)

"""Make the module beside these tests and the stand-ins' packages importable."""

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
IMAGES = HERE.parents[3] / "lab" / "images"

for directory in (HERE, *sorted(IMAGES.glob("*-stand-in"))):
    sys.path.insert(0, str(directory))

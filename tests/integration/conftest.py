"""Makes the modules of this folder importable: ``--import-mode=importlib`` puts no folder on the path."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

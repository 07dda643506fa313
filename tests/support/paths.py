"""Where the repository, the tests' own data and the shared test data are."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data"
# Not part of the repository; tests over it are skipped where it is missing.
SHARED = ROOT.parent / "shared"

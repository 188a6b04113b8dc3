"""What a symbol-day takes on disk: the real captures, told for 24 hours.

    python -m benchmarks.footprint

Each capture goes through the project's own import, reconstruct and features in this process; bookTicker, which is not
collected by default, once with and once without. Captures of minutes are stretched to a day, fixed costs of their files
and all: theirs are figures from above, but for how busy their minutes were.
"""

import gzip
import sys
import tempfile
from pathlib import Path

from benchmarks.clean import CAPTURES, Capture, absent, capture_paths, import_lines, reconstruct_all
from benchmarks.rows import Row, finish, parser_of
from midas_ray.storage import Storage
from tests.features.serial import run_features

NAME = "footprint"
DAY_S = 86400.0
TICKER = b"@bookTicker"
TABLES = ("raw", "clean", "features")


def without_tickers(paths: list[str], folder: Path) -> list[str]:
    """The same files without bookTicker's lines."""
    kept = []
    for path in paths:
        kept.append(str(folder / Path(path).name))
        with gzip.open(path) as lines, gzip.open(kept[-1], "wb", compresslevel=1) as out:
            out.writelines(line for line in lines if TICKER not in line)
    return kept


def span_s(paths: list[str]) -> float:
    """From the first line's receive time (ns or us since 1970) to the last one's."""
    times = []
    for path in (paths[0], paths[-1]):
        with gzip.open(path) as lines:
            times.append([int(line.split(maxsplit=1)[0]) for line in lines])
    first, last = times[0][0], times[-1][-1]
    return (last - first) / (1e9 if last > 1e17 else 1e6)


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def measure(capture: Capture, paths: list[str], what: str) -> list[Row]:
    """Rows of one capture."""
    seconds = span_s(paths)
    with tempfile.TemporaryDirectory() as folder:
        import_lines(folder, capture.venue, capture.symbol, paths)
        reconstruct_all(folder, capture.venue, capture.symbol)
        run_features(Storage(folder), capture.symbol, venue=capture.venue)
        sizes = {table: size(Path(folder, table)) * DAY_S / seconds / 1e9 for table in TABLES}
    note = f"{capture.venue}, {seconds / 3600:.2f} h"
    told = {"benchmark": NAME, "unit": "GB", "note": note}
    return [Row(what=f"{what}: {table}", value=value, **told) for table, value in sizes.items()]


def main() -> None:
    arguments = parser_of(__doc__).parse_args()
    rows = []
    for capture in CAPTURES:
        paths = capture_paths(capture)
        if not paths:
            print(f"{capture.venue} {capture.symbol}: {absent(capture)}", file=sys.stderr)
            continue
        with tempfile.TemporaryDirectory() as folder:
            rows += measure(capture, without_tickers(paths, Path(folder)), capture.symbol)
        rows += measure(capture, paths, f"{capture.symbol} with bookTicker")
    finish(rows, arguments.json)


if __name__ == "__main__":
    main()

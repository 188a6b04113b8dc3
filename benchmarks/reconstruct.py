"""python -m benchmarks.reconstruct: one hour of BTC-like raw data to clean Parquet, against one-shot decompression.

Prints ratios within one run, on one core: machines differ, ratios less so.
"""

import os
import resource
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("POLARS_MAX_THREADS", "1")

import zstandard

from benchmarks.journals import write_busy_hour
from midas_ray.reconstruct.plan import hour_keys, plan_tasks, raw_files
from midas_ray.reconstruct.task import reconstruct_hours
from midas_ray.settings import BookSettings
from midas_ray.storage import Storage

ROUNDS = 5


def decompress(path: Path) -> int:
    """The floor: the whole journal into memory at once. Gives its bytes."""
    reader = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
    return len(reader.readall())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        messages, changes = write_busy_hour(Path(folder))
        storage = Storage(folder)
        settings = BookSettings(data_dir=folder)
        files = raw_files(storage, "binance-futures", "btcusdt")
        tasks = plan_tasks("binance-futures", "btcusdt", files, hour_keys(files, settings), {})
        journals = [storage.local_path(file.path) for file in files]
        for task in tasks:
            reconstruct_hours(folder, task, settings)
        floors, whole = [], []
        for _ in range(ROUNDS):
            start = time.perf_counter()
            size = sum(map(decompress, journals))
            floors.append(time.perf_counter() - start)
            start = time.perf_counter()
            for task in tasks:
                result = reconstruct_hours(folder, task, settings)
            whole.append(time.perf_counter() - start)
        ratios = [total / floor for total, floor in zip(whole, floors, strict=True)]
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{messages:,} depth messages, {changes:,} level changes, {size / 1e6:.0f} MB of JSON lines")
        print(f"rows {result['rows']}")
        print(f"reconstruct / decompression: {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")
        print(f"decompression {statistics.median(floors):.3f} s, peak memory {peak_mb:.0f} MB")


if __name__ == "__main__":
    main()

"""One symbol's live features with its I/O: journals in, publications out, and what a start or a restart needs."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from midas_ray.errors import DataError, StorageError
from midas_ray.features.daily import DAY_US
from midas_ray.features.day import history_days
from midas_ray.features.table import FeatureRows
from midas_ray.live.follow import JournalFollower, JournalRewrittenError
from midas_ray.live.history import day_of, load_history
from midas_ray.live.publication import ClosedBy, Publication
from midas_ray.live.record import Record
from midas_ray.live.symbol import HistoryNeededError, LiveSymbol
from midas_ray.settings import BookSettings, Features
from midas_ray.storage import Storage

SILENT_NS = 180 * 10**9
"""A growing journal of which nothing came for so long has probably lost its collector."""
Clock = Callable[[], int]
"""Wall clock of this machine, ns."""


class Follower(Protocol):
    """Where lines come from: see `JournalFollower`."""

    @property
    def path(self) -> Path | None: ...

    def poll(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


class SymbolSession:
    """Follows one symbol.

    A bucket is published when it is over, again with the next revision whenever something later has changed it, and
    never twice in a row with the same bits. What was published before is gone on with: buckets since then, of today and
    the day before, are made up for.
    """

    def __init__(
        self,
        settings: Features,
        symbol: str,
        clock: Clock,
        follow: Callable[[Path, str | None], Follower] = JournalFollower,
    ) -> None:
        self.symbol = symbol
        self._settings, self._clock, self._follow = settings, clock, follow
        self._storage = Storage(settings.data_dir)
        self._bucket_us = settings.time_bucket_ms * 1000
        self._record: Record | None = None
        self._begin_us: int | None = None
        self._rebuilt_at: int | None = None

    @property
    def folder(self) -> Path:
        """Where the symbol's journals lie."""
        return self._storage.local_path(f"raw/venue={self._settings.venue}/symbol={self.symbol}")

    @property
    def following(self) -> bool:
        """A collector writes a journal: there is a growing file, and something came of late."""
        if self._record is None or self._follower.path is None:
            return False
        return self._clock() - self._engine.newest_recv_ns < SILENT_NS

    @property
    def started(self) -> bool:
        return self._record is not None

    def start(self) -> None:
        """Read what there is up to now. Raises DataError, SchemaError, CorruptFileError, StorageError."""
        for _ in self.starting():
            pass

    def starting(self) -> Iterator[None]:
        """The same, in steps."""
        now_us = self._clock() // 1000
        today_us = day_of(now_us)
        if self._record is None:
            self._record = Record(self._storage, self._settings.venue, self.symbol, self._bucket_us, today_us - DAY_US)
            self._begin_us = self._record.first_us
        while True:
            try:
                yield from self._read_all(today_us)
            except JournalRewrittenError:  # sealed in this moment, without a damaged end
                self._follower.close()
            else:
                return

    def _read_all(self, today_us: int) -> Iterator[None]:
        assert self._record is not None
        first_us = self._record.first_us
        eval_day_us = today_us if first_us is None else min(day_of(first_us), today_us)
        book = BookSettings(**{name: getattr(self._settings, name) for name in BookSettings.model_fields})
        history = load_history(
            self._storage,
            self._settings.venue,
            self.symbol,
            book,
            self._bucket_us,
            first_day_us=eval_day_us - history_days(self._bucket_us) * DAY_US,
            prints_from_us=eval_day_us - DAY_US,
        )
        self._engine = LiveSymbol(self._settings, self.symbol, history, eval_day_us)
        self._follower = self._follow(self.folder, history.first_name)
        self._is_first_round = True
        for block in self._follower.poll():
            self._engine.feed(block)
            yield

    def poll(self) -> list[Publication]:
        """What is to be published now, and is from now on. Raises DataError, CorruptFileError, StorageError."""
        assert self._record is not None
        try:
            for block in self._follower.poll():
                self._engine.feed(block)
            return self._publish()
        except OSError as error:
            raise StorageError(
                f"cannot read {error.filename or self.folder}: {error.strerror}; check the disk and permissions"
            ) from None
        except (JournalRewrittenError, HistoryNeededError):
            self._begin_anew()
            return []

    def close(self) -> None:
        """Let go of the files."""
        if self._record is not None:
            self._follower.close()
            self._record.close()

    def _begin_anew(self) -> None:
        """Read the journals once more. Raises DataError where that was of no use."""
        newest_ns = self._engine.newest_recv_ns
        if self._rebuilt_at is not None and newest_ns <= self._rebuilt_at:
            raise DataError(
                f"{self.symbol}: its journals do not hold what its live features rest on; run midas reconstruct and "
                "midas features, then start anew"
            )
        self._rebuilt_at = newest_ns
        self._follower.close()
        self.start()

    def _publish(self) -> list[Publication]:
        assert self._record is not None
        engine, now_ns = self._engine, self._clock()
        before_us = engine.closed_us
        by_streams, closed_ns = engine.close(now_ns)
        closed_us = engine.closed_us
        assert closed_us is not None
        if self._begin_us is None:
            self._begin_us = closed_us
        is_first, self._is_first_round = self._is_first_round, False
        fresh_us = self._begin_us if is_first or before_us is None else before_us + self._bucket_us
        if not (is_first or closed_us != before_us or engine.changed(now_ns)):
            return []
        made: list[Publication] = []
        for rows in engine.rows(now_ns, fresh_us):
            for at, ts_us in enumerate(rows.ts_us.tolist()):
                if ts_us < self._begin_us:
                    continue
                if ts_us < fresh_us:
                    why, since_ns = "late", now_ns
                elif is_first:
                    why, since_ns = "restart", now_ns
                else:
                    why, since_ns = "streams" if by_streams else "clock", closed_ns - (closed_us - ts_us) * 1000
                made += self._publication(rows, at, why, since_ns)  # type: ignore[arg-type]
        self._record.append(made)
        engine.forget_day()
        self._record.forget(day_of(closed_us) - DAY_US)
        return made

    def _publication(self, rows: FeatureRows, at: int, closed_by: ClosedBy, closed_ns: int) -> list[Publication]:
        """The row as a publication; none where the last one was of the same bits."""
        assert self._record is not None
        row = Publication(
            ts_us=int(rows.ts_us[at]),
            symbol=self.symbol,
            revision=0,
            closed_by=closed_by,
            closed_ns=closed_ns,
            published_ns=self._clock(),
            values=rows.values[at],
            kinds=rows.kinds[at],
            coverage=float(rows.coverage[at]),
            trades_coverage=float(rows.trades_coverage[at]),
        )
        revision = self._record.next_revision(row)
        return [] if revision is None else [row.as_revision(revision)]

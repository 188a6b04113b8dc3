"""`midas up`, `down`, `status`: the head node and the collectors of a data folder."""

import asyncio
from pathlib import Path

from midas_ray import console
from midas_ray.capture import head as head_node
from midas_ray.capture import head_start
from midas_ray.capture.answers import ask_all
from midas_ray.capture.claim import check_unclaimed
from midas_ray.capture.desired import read_plan, write_plan
from midas_ray.capture.groups import Plan, add_symbols, pin, pinned, plan_up, remove_symbols, shared_settings
from midas_ray.capture.head import Autoscaling, Head, HeadError
from midas_ray.capture.layout import check_layout
from midas_ray.capture.session import check_start, local_root
from midas_ray.capture.status_table import DONE, healths_of, print_status
from midas_ray.capture.upload import seal_abandoned, upload_rest, waiting
from midas_ray.cloud.left_running import rented_nodes_line
from midas_ray.errors import UsageError
from midas_ray.setting_values import top_count
from midas_ray.settings import Collect, Down, JobPlaces, Status, Up, parse_settings
from midas_ray.storage import Storage


def up(settings: Up) -> int:
    """Run `midas up`; gives the exit code. Raises MidasError with one line; before anything is started where it can.

    A symbol that runs already is left as it is, with the settings it was started with.
    """
    if settings.duration is not None:
        raise UsageError("--duration: a detached collector runs until midas down; use midas collect for a time")
    root, storage = local_root(settings), Storage.of(settings)
    check_layout(root)
    config = settings.autoscaling_config
    autoscaling = None if config is None else head_start.read_autoscaling(config)
    asked = () if not settings.symbols else choose_symbols(root, settings)  # --symbols "" adds none
    if head_node.read_head(root) is None:  # else what a crashed head left may hold the port; it is ended below
        prepare(root, settings, asked, running=set())
        head_start.check_port_free(settings.dashboard_port)
    with head_node.head_lock(root):
        head = _running_head(root)
        running = set() if head is None else _running_groups(root)
        if head is None:
            _end_stale(root)
        plan, began = prepare(root, settings, asked, running)
        if head is None:
            write_plan(root, plan)  # collectors of a head that crashed come back with it, before they are asked to
            if not storage.is_local:
                seal_abandoned(root)
        head = _as_wanted(root, head, autoscaling, settings)
        from midas_ray.capture.detached import apply_plan, wait_until_live

        apply_plan(root, plan, storage.store_address)
    for health in wait_until_live(root, plan, began | set(plan.symbols if asked is None else asked)):
        said = "started" if health.symbol in began else "runs already"
        console.out.print(f"{health.symbol}: collector {said}, {health.state}")
    _print_places(head, root, storage)
    return 0


def down(settings: Down) -> int:
    """Run `midas down`; gives the exit code: 1 where a collector could not end in good order. Raises HeadError where
    something did not end."""
    root, storage = local_root(settings), Storage.of(settings)
    if settings.symbols:
        return _take_off(root, settings.symbols, storage)
    head = head_node.read_head(root)
    if head is None:
        console.out.print(f"nothing runs for {root}")
        return upload_rest(root, storage)
    with head_node.head_lock(root):
        failed = _stop_collectors(head) if head_node.is_running(head) else 0
        head_node.stop_head(root, head)
    console.out.print(f"stopped the head node of {root}")
    if head.autoscaling is not None and (line := rented_nodes_line(head.autoscaling.config)):
        console.out.print(line, markup=False)
    symbols = read_plan(root).symbols
    if symbols:
        console.out.print(f"midas up starts again: {', '.join(symbols)}")
    return 1 if upload_rest(root, storage) or failed else 0


def status(settings: Status) -> int:
    """Run `midas status`; gives 0 where every symbol that is to be collected is live, or delisted."""
    root, storage = local_root(settings), Storage.of(settings)
    left = None if storage.is_local else waiting(root)
    head = head_node.read_head(root)
    if head is None or not head_node.is_running(head):
        if settings.as_json:  # for a program that watches, this is an answer, too
            print_status(healths_of(root, read_plan(root), {}), {}, root, left, as_json=True)
        elif left is not None and left.files + left.growing:
            console.out.print(f"{left}, in {root}", markup=False)
        raise HeadError(f"nothing runs for {root}; start it with midas up")
    _check_version(root, head)
    answers = ask_all(Path(head.temp_dir))
    said = {name: None if answer is None else answer.healths for name, answer in answers.items()}
    healths = healths_of(root, read_plan(root), said)
    told = [answer for answer in answers.values() if answer is not None]
    limits = {answer.exchange: answer.limits for answer in told if answer.limits is not None}
    print_status(healths, limits, root, left, as_json=settings.as_json)
    if not settings.as_json:
        _print_places(head, root, storage)
    return 0 if all(health.state in DONE for health in healths) else 1


def _print_places(head: Head, root: Path, storage: Storage) -> None:
    data = root if storage.is_local else f"{storage.shown}  spool {root}"
    console.out.print(f"dashboard {head.dashboard_url}  ray {head.gcs_address}  data {data}", markup=False)


def choose_symbols(root: Path, settings: Collect) -> tuple[str, ...] | None:
    """The symbols that `settings` names, a choice such as top:50 made once; None where it names none and some are kept.

    The exchange is asked about those that are not collected yet: one that it has delisted since must not keep the
    others from being started. Raises UsageError, UnknownSymbolError, VenueError or StorageError; nothing has been
    written then.
    """
    plan = read_plan(root)
    if "symbols" not in settings.model_fields_set and plan.symbols:
        return None
    if top_count(settings.symbols) is not None:
        known = pinned(plan, settings.venue, settings.symbols[0])
        return known or asyncio.run(check_start(settings, settings.symbols))
    new = tuple(symbol for symbol in settings.symbols if symbol not in plan.symbols)
    if new or not settings.symbols:
        asyncio.run(check_start(settings, new))
    return settings.symbols


def prepare(root: Path, settings: Collect, asked: tuple[str, ...] | None, running: set[str]) -> tuple[Plan, set[str]]:
    """The plan with what is asked for, and the symbols that are not collected yet. Changes nothing.

    running: names of the groups whose collector runs. Raises UsageError where a symbol is collected from another venue,
    or held by another collector, such as a `midas collect`.
    """
    plan = _migrated(root, read_plan(root), settings)
    if asked is not None and top_count(settings.symbols) is not None:
        plan = pin(plan, settings.venue, settings.symbols[0], asked)
    shared = shared_settings(settings)
    wanted = plan_up(plan, asked, shared, settings.model_fields_set & shared.keys(), running)
    before = {symbol for name in running if name in plan.groups for symbol in plan.groups[name].symbols}
    began = set(wanted.symbols) - before
    for group in wanted.groups.values():
        check_unclaimed(root, group.venue, [symbol for symbol in group.symbols if symbol in began])
    return wanted, began


def _migrated(root: Path, plan: Plan, settings: Collect) -> Plan:
    """The plan with the symbols that an older MIDAS kept in its record of the head."""
    head = head_node.read_head(root)
    for symbol, venue in ({} if head is None else head.symbols).items():
        plan = add_symbols(plan, [symbol], shared_settings(settings) | {"venue": venue})
    return plan


def _running_head(root: Path) -> Head | None:
    """The head of this data folder, with this process joined to it; None where none runs."""
    head = head_node.read_head(root)
    if head is None or not head_node.is_running(head):
        return None
    _check_version(root, head)
    head_node.connect(head)
    return head


def _check_version(root: Path, head: Head) -> None:
    if head.symbols:
        raise HeadError(f"the head node of {root} is that of an older MIDAS; run midas down, then midas up")


def _running_groups(root: Path) -> set[str]:
    from midas_ray.capture.detached import running_groups

    return running_groups(root, read_plan(root))


def _end_stale(root: Path) -> None:
    """End what a crash or a reboot left of a head."""
    head = head_node.read_head(root)
    if head is not None:
        head_node.end_processes(head)


def _as_wanted(root: Path, head: Head | None, autoscaling: Autoscaling | None, settings: Up) -> Head:
    """The head that runs, or a new one in the place of one that crashed, or of one with another configuration. This
    process has joined it."""
    before = head_node.read_head(root)  # ended, where none runs
    wanted = head_start.taken_over(autoscaling, None if before is None else before.autoscaling)
    if head is not None:
        if autoscaling is None or wanted == head.autoscaling:
            return head
        console.out.print("another cluster configuration: the head node is started anew")
        _stop_collectors(head)
        head_node.end_processes(head)
    head = head_start.start_head(root, settings.dashboard_port, wanted, before, _defaults_of_jobs(settings))
    head_node.connect(head)
    return head


def _defaults_of_jobs(settings: Up) -> dict[str, str]:
    """Where the head's jobs find and keep everything, unless told otherwise: where commands in this folder do."""
    storage, jobs = Storage.of(settings), parse_settings(JobPlaces, "up", [])
    places = {"MODEL_DIR": jobs.model_dir, "LOG_DIR": jobs.log_dir}
    if settings.spool_dir:
        places["SPOOL_DIR"] = settings.spool_dir
    absolute = {name: str(Path(place).expanduser().absolute()) for name, place in places.items()}
    return absolute | {"DATA_DIR": storage.address}


def _take_off(root: Path, symbols: tuple[str, ...], storage: Storage) -> int:
    """Stop collecting some symbols for good; all others go on."""
    gone = _kept_symbols(root, read_plan(root), symbols)  # before anything is written
    with head_node.head_lock(root):
        left = remove_symbols(read_plan(root), gone)
        if _running_head(root) is None:
            write_plan(root, left)
        else:
            from midas_ray.capture.detached import apply_plan

            apply_plan(root, left, storage.store_address)
    for symbol in gone:
        console.out.print(f"{symbol}: not collected any more; what came is kept")
    return 0


def _kept_symbols(root: Path, plan: Plan, symbols: tuple[str, ...]) -> tuple[str, ...]:
    """The symbols that are meant. Raises UsageError for one that is not collected here."""
    if top_count(symbols) is not None:
        found = [known for choice, known in plan.pinned.items() if choice.endswith(f"/{symbols[0]}")]
        symbols = tuple(symbol for known in found for symbol in known if symbol in plan.symbols) or symbols
    for symbol in symbols:
        if symbol not in plan.symbols:
            collected = ", ".join(plan.symbols) or "none"
            raise UsageError(
                f"--symbols: expected symbols that are collected into {root} ({collected}), found {symbol}"
            )
    return symbols


def _stop_collectors(head: Head) -> int:
    """Stop every collector of the head, telling what each sealed; gives how many could not end in good order. One that
    does not answer ends with the head."""
    try:
        head_node.connect(head)
    except HeadError as error:
        console.err.print(f"{error}; ending it")
        return 0
    import ray

    from midas_ray.capture.detached import find_collectors, stop_collectors

    failed = stop_collectors(find_collectors(), "midas down", tell=console.out.print)
    ray.shutdown()
    return failed

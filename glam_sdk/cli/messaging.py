"""Add the commands that look after messages: ``glam dlq``, ``glam streams``, ``glam asyncapi``."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import logging
import sys
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from glam_sdk.config import load_settings
from glam_sdk.errors import ConfigurationError, GlamBaseError

if TYPE_CHECKING:
    from glam_sdk.messaging import DeadLetterBox, Nats, StoredLetter

    # The type that add_subparsers() returns has no public name.
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001


def add_commands(commands: Commands) -> None:
    """Add the parsers; each sets ``run`` to what it does."""
    dlq = commands.add_parser("dlq", help="look into the dead letters, replay or drop them")
    actions = dlq.add_subparsers(dest="action", required=True)
    for name, help_text in (
        ("list", "one line for each letter"),
        ("show", "a letter with its headers and body"),
        ("replay", "send messages again to the consumer that gave them up"),
        ("drop", "delete letters for ever"),
    ):
        action = actions.add_parser(name, help=help_text)
        if name != "list":
            action.add_argument("number", type=int, nargs="*", help="number of the letter")
        if name != "show":
            action.add_argument("--consumer", help="only the letters of this durable consumer")
        if name in ("replay", "drop"):
            action.add_argument("--all", action="store_true", help="every letter (of --consumer)")
        _add_connection(action)
        action.set_defaults(run=_dlq)
    streams = commands.add_parser("streams", help="compare declared streams with the server")
    actions = streams.add_subparsers(dest="action", required=True)
    for name, help_text in (("plan", "show what would change"), ("apply", "change it")):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("specs", help="module:name of a list of StreamSpec")
        _add_connection(action)
        action.set_defaults(run=_streams)
    consumers = commands.add_parser("consumers", help="pause or resume a durable consumer")
    actions = consumers.add_subparsers(dest="action", required=True)
    for name, help_text in (
        ("pause", "deliver nothing for a time; what is under way is finished"),
        ("resume", "deliver again, now"),
    ):
        action = actions.add_parser(name, help=help_text)
        action.add_argument("stream", help="name of the stream")
        action.add_argument("consumer", help="its durable name")
        if name == "pause":
            action.add_argument("--minutes", type=float, default=60, help="for how long (60)")
        _add_connection(action)
        action.set_defaults(run=_consumers)
    asyncapi = commands.add_parser("asyncapi", help="print AsyncAPI 3 of event classes")
    asyncapi.add_argument("modules", nargs="+", help="modules that declare events")
    asyncapi.add_argument("--title", default="Events", help="title of the document")
    asyncapi.set_defaults(run=_asyncapi)


def _add_connection(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", default="glam", help="whose settings name the NATS servers")
    parser.add_argument("--server", help="address of a NATS server, in place of the settings'")


def _dlq(options: argparse.Namespace) -> int:
    return _connected(options, lambda nats: _with_box(nats, options))


def _streams(options: argparse.Namespace) -> int:
    return _connected(options, lambda nats: _reconcile(nats, options))


def _consumers(options: argparse.Namespace) -> int:
    return _connected(options, lambda nats: _hold(nats, options))


async def _hold(nats: Nats, options: argparse.Namespace) -> int:
    from glam_sdk.messaging import pause_consumer, resume_consumer

    if options.action == "pause":
        until = await pause_consumer(
            nats, options.stream, options.consumer, timedelta(minutes=options.minutes)
        )
        sys.stdout.write(f"paused {options.consumer} until {until.isoformat()}\n")
    else:
        await resume_consumer(nats, options.stream, options.consumer)
        sys.stdout.write(f"resumed {options.consumer}\n")
    return 0


def _connected(options: argparse.Namespace, work: Callable[[Nats], Awaitable[int]]) -> int:
    from glam_sdk.messaging import Nats

    # What the command prints is its answer; the library's own lines are for services.
    logging.getLogger("glam_sdk.messaging").setLevel(logging.WARNING)
    overrides = {"nats": {"servers": [options.server]}} if options.server else None
    settings = load_settings(options.service, overrides=overrides)

    async def run() -> int:
        nats = Nats(settings.nats, service_name=options.service)
        await nats.start()
        try:
            return await work(nats)
        finally:
            await nats.stop()

    try:
        return asyncio.run(run())
    except GlamBaseError as exc:
        sys.stderr.write(f"{exc.code}: {exc.message}\n")
        return 1


async def _with_box(nats: Nats, options: argparse.Namespace) -> int:
    from glam_sdk.messaging import DeadLetterBox

    box = DeadLetterBox(nats)
    if options.action == "list":
        count = 0
        async for letter in box.letters(consumer=options.consumer):
            sys.stdout.write(_line(letter) + "\n")
            count += 1
        if not count:
            sys.stderr.write("There are no dead letters.\n")
        return 0
    numbers = await _chosen(box, options)
    if not numbers:
        sys.stderr.write("No letter is chosen. Give its number, or --all.\n")
        return 2
    for number in numbers:
        if options.action == "show":
            sys.stdout.write(_page(await box.get(number)))
        elif options.action == "replay":
            sys.stdout.write(f"replayed {_line(await box.replay(number))}\n")
        else:
            sys.stdout.write(f"dropped {_line(await box.drop(number))}\n")
    return 0


async def _chosen(box: DeadLetterBox, options: argparse.Namespace) -> list[int]:
    if options.action != "show" and options.all:
        return [letter.sequence async for letter in box.letters(consumer=options.consumer)]
    return list(options.number)


def _line(letter: StoredLetter) -> str:
    from glam_sdk.messaging import dead_letters as names

    shown = (names.AT, names.REASON, names.CONSUMER, names.SUBJECT, names.ATTEMPTS, names.ERROR)
    return "  ".join((str(letter.sequence), *(letter[name] for name in shown)))


def _page(letter: StoredLetter) -> str:
    headers = "".join(f"{name}: {value}\n" for name, value in sorted(letter.headers.items()))
    return (
        f"number: {letter.sequence}\n{headers}\n{letter.body.decode(errors='backslashreplace')}\n"
    )


async def _reconcile(nats: Nats, options: argparse.Namespace) -> int:
    from glam_sdk.messaging import ensure_stream, plan_stream

    is_possible = True
    for spec in _load(options.specs):
        plan = await plan_stream(nats.jetstream, spec)
        sys.stdout.write(f"{plan.action:<6}  {plan.name}\n")
        for setting, change in plan.changes.items():
            sys.stdout.write(f"        {setting}: {change}\n")
        if options.action == "apply":
            await ensure_stream(nats.jetstream, spec)
        is_possible = is_possible and plan.action != "refuse"
    return 0 if is_possible else 1


def _load(path: str) -> Iterable[Any]:
    module, _, name = path.partition(":")
    try:
        return list(getattr(_imported(module), name))
    except (ImportError, AttributeError, TypeError) as exc:
        raise ConfigurationError(
            f"{path!r} is no list of StreamSpec: {exc}. Write it as module:name."
        ) from exc


def _asyncapi(options: argparse.Namespace) -> int:
    from glam_sdk.events import asyncapi, events_of

    try:
        modules = [_imported(name) for name in options.modules]
    except ImportError as exc:
        raise ConfigurationError(f"A module cannot be imported: {exc}.") from exc
    document = asyncapi(events_of(*modules), title=options.title)
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 0


def _imported(module: str) -> ModuleType:
    """Import a module of the project the command is called in, installed or not."""
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    return importlib.import_module(module)

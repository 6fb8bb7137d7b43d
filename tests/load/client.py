"""The users: a steady rate of requests to the guestbook, from a process of its own.

    python -m tests.load.client FOLDER ADDRESS... [--rate 100] [--port 80] [--quick]

Half of the requests go on new connections, half on kept ones; the addresses take turns. All the
time one slow download, one slow upload and `IDLES` idle connections are open in each family; the
idle ones are used again as soon as another generation answers, and at the latest after `IDLE_TIME`.
With `--quick` nothing slow is on its way.

What counts as failed: every request without a whole and right answer, for whatever reason, the
first time; nothing is ever sent twice. A kept connection that the server closed while it was idle
is found out before a request is sent and replaced, as any browser does; those are `closed` records
and no failures, unless it is one of the idle connections, where that is what is tested.

SIGTERM ends it: what runs may end, slow transfers too, and then the books are closed.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import itertools
import json
import random
import secrets
import signal
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.load.ledger import IDLE, Books, Request, Written
from tests.load.wire import Answer, Connection, CutError, connect

KINDS = ("write",) * 5 + ("read",) * 3 + ("page",) + ("health",)
"""In turn; a file is put or fetched instead once in `FILE_EVERY` requests."""
FILE_EVERY = 50
LIMIT = 60.0
"""Seconds after which a request has failed."""

IDLES = 4
IDLE_TIME = 45.0
"""Seconds; below the two minutes after which Caddy closes an idle connection."""

GENERATION = "/.well-known/bakehouse"
LOOK = 0.2
"""Seconds between two looks at which generation answers."""

SIZE = 6 * 1024 * 1024
"""Bytes of the slow download and upload."""
PIECE = 32 * 1024
STEP = 0.05
"""Seconds for a piece: a transfer takes ten seconds."""
RECEIVE = 64 * 1024
"""Bytes of a slow download that our kernel may take in advance."""


class WrongError(Exception):
    """An answer that is whole, but not right."""


class Load:
    """One run. All state is of the users' side."""

    def __init__(
        self, books: Books, addresses: list[str], port: int, rate: float, *, quick: bool = False
    ) -> None:
        self.books, self.addresses, self.port, self.rate = books, addresses, port, rate
        self.quick = quick
        self.kept: dict[str, deque[Connection]] = {address: deque() for address in addresses}
        self.entries: deque[tuple[str, str]] = deque(maxlen=1000)
        self.files: deque[tuple[str, str]] = deque(maxlen=100)
        self.stopping = asyncio.Event()
        self.generation: dict[str, int] = {}
        self.swapped = asyncio.Condition()
        self.token = secrets.token_hex(4)
        self.numbers = itertools.count()
        self.tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Until `stopping` is set; then what runs comes to its end."""
        for address in self.addresses:
            if not self.quick:
                self.start(self.slow_download(address))
                self.start(self.slow_upload(address))
            self.start(self.watch(address))
            for _ in range(IDLES):
                self.start(self.idle(address))
        turns = itertools.cycle(self.addresses)
        begun = time.monotonic()
        for number in itertools.count():
            await self.rest(begun + number / self.rate - time.monotonic())
            if self.stopping.is_set():
                break
            kind = KINDS[number % len(KINDS)]
            if number % FILE_EVERY == 0:
                kind = "fetch" if number % (2 * FILE_EVERY) and self.files else "file"
            # By chance, or one kind would have all the new connections.
            how = random.choice(("new", "kept"))
            self.start(self.one(kind, how, next(turns)))
        async with self.swapped:
            self.swapped.notify_all()
        while self.tasks:
            await asyncio.wait(self.tasks)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task: asyncio.Task[None]) -> None:
        """An error of ours must not look like quiet."""
        self.tasks.discard(task)
        if error := task.exception():
            asyncio.get_running_loop().stop()
            raise error

    async def rest(self, seconds: float) -> None:
        """Sleep, unless the end comes first."""
        if seconds > 0:
            with suppress(TimeoutError):
                await asyncio.wait_for(self.stopping.wait(), seconds)

    async def one(self, kind: str, how: str, address: str) -> None:
        """A request on a new or on a kept connection."""
        found = self.take(address) if how == "kept" else None

        async def act() -> int:
            connection = found or await connect(address, self.port)
            again = False
            try:
                answer = await getattr(self, kind)(connection)
                again = how == "kept" and not answer.last
            finally:
                if again:
                    self.kept[address].append(connection)
                else:
                    connection.close()
            return int(answer.status)

        await self.told(kind, "kept" if found else "new", address, act)

    def take(self, address: str) -> Connection | None:
        """A kept connection that is still open; None when there is none."""
        while self.kept[address]:
            connection = self.kept[address].popleft()
            if not connection.ended:
                return connection
            connection.close()
            self.note("closed", "kept", address, time.monotonic(), 0, "")
        return None

    async def told(
        self, kind: str, how: str, address: str, act: Callable[[], Awaitable[int]]
    ) -> bool:
        """Run a request and write down what came of it."""
        begun, status, error = time.monotonic(), 0, ""
        try:
            status = await asyncio.wait_for(act(), LIMIT)
        except TimeoutError:
            error = f"no end after {LIMIT:g} s"
        except (CutError, WrongError) as problem:
            error = str(problem)
        except (ValueError, KeyError) as problem:
            error = f"no answer of the guestbook's: {problem!r}"
        self.note(kind, how, address, begun, status, error)
        return not error

    def note(
        self, kind: str, how: str, address: str, begun: float, status: int, error: str
    ) -> None:
        family = 6 if ":" in address else 4
        seconds = time.monotonic() - begun
        self.books.request(Request(kind, how, family, begun, seconds, status, error))

    async def write(self, connection: Connection) -> Answer:
        """A new entry without an id, so that one sent twice on the way is there twice."""
        text = f"load {self.token} {next(self.numbers)}"
        content = json.dumps({"name": "load", "text": text}).encode()
        answer = right(await connection.ask("POST", "/entries", content), 201)
        number = json.loads(answer.body)["id"]
        self.books.written(Written("entry", text, number))
        self.entries.append((number, text))
        return answer

    async def read(self, connection: Connection) -> Answer:
        """An entry that was acknowledged, most likely a new one; it must be there."""
        if not self.entries:
            return await self.health(connection)
        number, text = random.choice((self.entries[-1], random.choice(self.entries)))
        answer = right(await connection.ask("GET", f"/entries/{number}"), 200)
        if json.loads(answer.body)["text"] != text:
            raise WrongError("another entry")
        return answer

    async def page(self, connection: Connection) -> Answer:
        return right(await connection.ask("GET", "/"), 200)

    async def health(self, connection: Connection) -> Answer:
        return right(await connection.ask("GET", "/healthz"), 200)

    async def file(self, connection: Connection) -> Answer:
        """A small file, and its checksum as the server saw it."""
        content = secrets.token_bytes(random.randint(1, PIECE))
        digest = hashlib.sha256(content).hexdigest()
        name = f"load-{self.token}-{next(self.numbers)}"
        answer = right(await connection.ask("PUT", f"/files/{name}", content), 201)
        self.stored(name, digest, answer)
        return answer

    def stored(self, name: str, digest: str, answer: Answer) -> None:
        if json.loads(answer.body)["sha256"] != digest:
            raise WrongError("another checksum")
        self.books.written(Written("file", name, digest))
        self.files.append((name, digest))

    async def fetch(self, connection: Connection) -> Answer:
        """A file that was acknowledged."""
        name, digest = random.choice(self.files)
        answer = right(await connection.ask("GET", f"/files/{name}"), 200)
        if hashlib.sha256(answer.body).hexdigest() != digest:
            raise WrongError("another file")
        return answer

    async def slow_upload(self, address: str) -> None:
        """One after another, each on a connection of its own."""
        while not self.stopping.is_set():
            name = f"slow-{self.token}-{next(self.numbers)}"
            digest = hashlib.sha256()

            async def pieces(digest: Any = digest) -> AsyncIterator[bytes]:
                for _ in range(SIZE // PIECE):
                    piece = secrets.token_bytes(PIECE)
                    digest.update(piece)
                    yield piece
                    await asyncio.sleep(STEP)

            async def act(name: str = name, digest: Any = digest) -> int:
                connection = await connect(address, self.port)
                try:
                    answer = await connection.send_slowly(f"/files/{name}", pieces(), SIZE)
                finally:
                    connection.close()
                self.stored(name, digest.hexdigest(), right(answer, 201))
                return answer.status

            if not await self.told("upload", "new", address, act):
                await self.rest(1)

    async def slow_download(self, address: str) -> None:
        """One after another; the first user puts the file there."""
        content = random.Random(address).randbytes(SIZE)
        digest = hashlib.sha256(content).hexdigest()
        name = f"big-{self.token}-{next(self.numbers)}"

        async def put() -> int:
            connection = await connect(address, self.port)
            self.stored(name, digest, await connection.ask("PUT", f"/files/{name}", content))
            connection.close()
            return 201

        async def act() -> int:
            connection = await connect(address, self.port, RECEIVE)
            found = hashlib.sha256()
            try:
                connection.begin("GET", f"/files/{name}", 0)
                status, length, _ = await connection.head()
                async for piece in connection.pieces(length, PIECE):
                    found.update(piece)
                    await asyncio.sleep(STEP * len(piece) / PIECE)
            except OSError as error:
                raise CutError(f"{type(error).__name__}: {error}") from error
            finally:
                connection.close()
            if found.hexdigest() != digest:
                raise WrongError("another file")
            return status

        if not await self.told("upload", "new", address, put):
            return
        while not self.stopping.is_set():
            if not await self.told("download", "new", address, act):
                await self.rest(1)

    async def idle(self, address: str) -> None:
        """A connection with one request before and one after a swap, and nothing between."""
        while not self.stopping.is_set():
            try:
                connection = await connect(address, self.port)
                if (await self.health(connection)).last:  # it drains: no connection to keep
                    connection.close()
                    await self.rest(1)
                    continue
            except (CutError, WrongError) as error:
                self.note("health", "new", address, time.monotonic(), 0, str(error))
                await self.rest(1)
                continue
            async with self.swapped:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self.swapped.wait(), IDLE_TIME)

            async def act(connection: Connection = connection) -> int:
                if connection.ended:
                    raise CutError("closed while idle")
                return (await self.health(connection)).status

            await self.told(IDLE, "kept", address, act)
            connection.close()

    async def watch(self, address: str) -> None:
        """Which generation answers, by new connections; whoever waits for a swap is told."""
        while not self.stopping.is_set():

            async def act() -> int:
                connection = await connect(address, self.port)
                try:
                    answer = right(await connection.ask("GET", GENERATION), 200)
                finally:
                    connection.close()
                found = int(json.loads(answer.body)["generation"])
                if self.generation.setdefault(address, found) != found:
                    self.generation[address] = found
                    async with self.swapped:
                        self.swapped.notify_all()
                return answer.status

            await self.told("generation", "new", address, act)
            await self.rest(LOOK)


def right(answer: Answer, status: int) -> Answer:
    """The answer, when it has this status. Raises WrongError."""
    if answer.status != status:
        raise WrongError(f"{answer.status}: {answer.body[:100].decode('utf-8', 'replace')}")
    return answer


async def main(asked: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT."""
    books = Books(asked.folder)
    load = Load(books, asked.addresses, asked.port, asked.rate, quick=asked.quick)
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, load.stopping.set)
    await load.run()
    books.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.load.client")
    parser.add_argument("folder", type=Path)
    parser.add_argument("addresses", nargs="+")
    parser.add_argument("--port", type=int, default=80)
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    parser.add_argument("--quick", action="store_true", help="no slow download, no slow upload")
    asyncio.run(main(parser.parse_args()))

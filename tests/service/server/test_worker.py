"""Workers: a busy one still accepts many connections."""

import asyncio
import os
import socket
from collections.abc import Callable

import pytest
import uvloop

from service.server.worker import ACCEPTED_AT_ONCE, multiply


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def test_a_busy_worker_accepts_many_connections_in_one_turn_of_its_loop(run: Callable[..., int]):
    """uvloop accepts one connection a socket, and under load a turn takes as long as an answer."""
    accepted: list[asyncio.BaseTransport] = []

    class Accepting(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport)

    async def count_turns() -> int:
        loop, turns = asyncio.get_running_loop(), 0
        listening = socket.create_server(("127.0.0.1", 0))
        copies = multiply([listening])
        assert not any(os.get_blocking(each.fileno()) for each in copies)  # a shared blocking socket can stop a worker
        servers = [await loop.create_server(Accepting, sock=each) for each in copies]
        clients = [socket.create_connection(listening.getsockname()) for _ in range(ACCEPTED_AT_ONCE)]
        while len(accepted) < len(clients) and turns < 100:
            await asyncio.sleep(0)
            turns += 1
        for each in (*clients, *accepted, *servers):
            each.close()
        for server in servers:
            await server.wait_closed()
        await asyncio.sleep(0)
        return turns

    assert run(count_turns()) < 5

"""Uvicorn still does what ui/access/uvicorn_internals.py relies on: asked of a server of its own, in a process."""

import subprocess
import sys
from pathlib import Path

import uvicorn

ROOT = Path(__file__).parents[3]
SERVER = """
import asyncio, json, socket, uvicorn
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from ui.access import uvicorn_internals

told = []
uvicorn_internals.watch_connections(
    lambda peer, close: told.append(["in", peer[1], close]), lambda peer: told.append(["out", peer[1]]), 1000
)
uvicorn_internals.believe_no_proxy()

async def app(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (await receive())["type"] != "websocket.disconnect":
            pass
    elif scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": scope["client"][0].encode()})

async def main():
    door = socket.socket()
    door.bind(("127.0.0.1", 0))
    port = door.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_level="error"))
    serving = asyncio.create_task(server.serve(sockets=[door]))
    while not server.started:
        await asyncio.sleep(0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    own = writer.get_extra_info("sockname")[1]
    writer.write(b"GET / HTTP/1.1\\r\\nHost: x\\r\\nX-Forwarded-For: 6.6.6.6\\r\\nConnection: close\\r\\n\\r\\n")
    answer = await reader.read()
    assert b"127.0.0.1" in answer, answer
    assert [t[:2] for t in told] == [["in", own], ["out", own]], told
    async with connect(f"ws://127.0.0.1:{port}/") as page:
        own = page.local_address[1]
        assert told[-1][:2] == ["in", own]
        await page.send(bytes(1000))
        await page.send([bytes(600), bytes(600)])
        try:
            await page.recv()
        except ConnectionClosed as e:
            assert e.rcvd.code == 1009, e
    while told[-1] != ["out", own]:
        await asyncio.sleep(0)
    async with connect(f"ws://127.0.0.1:{port}/") as page:
        told[-1][2]()
        try:
            await page.recv()
        except ConnectionClosed:
            print("closed")
    server.should_exit = True
    await serving

asyncio.run(main())
"""


def test_connections_are_told_limited_and_closed_and_no_proxy_is_believed() -> None:
    done = subprocess.run([sys.executable, "-c", SERVER], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"uvicorn {uvicorn.__version__}: {done.stderr}"
    assert done.stdout == "closed\n"

"""
Latency of `/recommend` and time in the engine; requests/s of `/recommend` and of an endpoint that does nothing.

    python benchmarks/bench_http.py [DATA...]     default: a synthetic world of 50,000 playlists

One worker; `wrk` (Debian: apt-get install wrk) sends the same 320 playlists of 30 seeds, k = 100, over kept-alive
connections. The measurements take turns, seven rounds each; the figures are medians of the rounds.
"""

import os

for library in ("OPENBLAS", "OMP", "MKL"):
    os.environ[f"{library}_NUM_THREADS"] = "1"

import argparse
import asyncio
import gc
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median

from bench_engine import K, playlists_of_30, timed
from machine import describe_machine
from starlette.types import Receive, Scope, Send

from service.engine import Options, Playlist, Recommendation, Recommender, Store
from trainer.config import Configs
from trainer.dataset import build_dataset
from trainer.pipeline import Plan, train
from trainer.sources import read
from trainer.synthetic.playlists import synthesize

PORT, ROUNDS, SECONDS = 18999, 7, 4
CLIENTS = 2  # enough to keep one worker busy
LUA = """
local bodies, i = {}, 0
for line in io.lines(os.getenv("BODIES")) do bodies[#bodies + 1] = line end
wrk.method, wrk.headers["Content-Type"] = "POST", "application/json"
request = function() i = i % #bodies + 1; return wrk.format(nil, nil, nil, bodies[i]) end
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Latency of /recommend over HTTP, and time in the engine.")
    parser.add_argument("data", type=Path, nargs="*")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if shutil.which("wrk") is None:
        raise SystemExit("error: wrk is not installed; on Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        paths, models = options.data, Path(directory, "models")
        if not paths:
            paths = [Path(directory, "synthetic-50000")]
            synthesize(paths[0], 50_000, seed=0)
        train(paths, models, Configs.of(), Plan(hold_out=False))
        print(f"\n{describe_machine()}\ndata: {', '.join(path.name for path in paths)}\n")
        bench(Path(directory), paths, models)


def bench(directory: Path, paths: list[Path], models: Path) -> None:
    playlists = playlists_of_30(build_dataset(read(paths)))
    bodies, script = directory / "bodies.jsonl", directory / "wrk.lua"
    bodies.write_text("".join(json.dumps({"tracks": list(p.tracks), "k": K}) + "\n" for p in playlists))
    script.write_text(LUA)
    recommender = Recommender.open(Store(models).current())
    gc.collect()
    gc.freeze()

    tight, within, alone, loaded, nothing = [], [], [], [], []
    with serving(models):
        for _ in range(ROUNDS):
            times = timed(lambda i: recommender.recommend([playlists[i]], Options(K)), range(len(playlists)))
            tight += [median(times) * 1e3]
            engine_ms()
            alone += [wrk("/recommend", 1, bodies, script)]
            within += [engine_ms()]
            loaded += [wrk("/recommend", CLIENTS, bodies, script)]
            nothing += [wrk("/nothing", CLIENTS, bodies, script)]
    recommender.close()

    added = median(row["p50"] - engine for row, engine in zip(alone, within, strict=True))
    p50, p99 = median(row["p50"] for row in alone), median(row["p99"] for row in alone)
    print(f"/recommend: {len(playlists)} playlists of 30 seeds, k = {K}, one worker, {ROUNDS} rounds of {SECONDS} s")
    print(f"  the engine in a loop of its own    p50 {median(tight):6.2f} ms")
    print(f"  the engine within the requests     p50 {median(within):6.2f} ms")
    print(f"  the requests, 1 client             p50 {p50:6.2f} ms   p99 {p99:6.2f} ms   HTTP adds {added:.2f} ms")
    print(f"  the requests, {CLIENTS} clients            {median(row['rate'] for row in loaded):6.0f} requests/s")
    print(f"  nothing, the same body, {CLIENTS} clients  {median(row['rate'] for row in nothing):6.0f} requests/s")


def engine_ms() -> float:
    """Return the median time in the engine since the last call, in milliseconds."""
    with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/engine") as response:
        return float(json.loads(response.read()))


def serve(models: Path) -> None:
    """Serve the application with a clock around its engine, and an endpoint that only reads the body."""
    import uvicorn
    from fastapi import FastAPI, Request

    from service.api.routing import Answer
    from service.app import create_app
    from service.server.supervisor import bounded_protocol
    from service.settings import Settings
    from service.telemetry.logs import configure_logs

    seconds: list[float] = []
    recommend = Recommender.recommend

    def timed_recommend(self: Recommender, playlists: Sequence[Playlist], options: Options) -> list[Recommendation]:
        started = time.perf_counter()
        answers = recommend(self, playlists, options)
        seconds.append(time.perf_counter() - started)
        return answers

    # Timed in the process that answers. The service has no hook for that, and needs none.
    Recommender.recommend = timed_recommend
    settings, beside = Settings(models=models), FastAPI()
    service = create_app(settings)

    @beside.get("/engine")
    async def engine() -> Answer:
        found = median(seconds) * 1e3 if seconds else 0.0
        seconds.clear()
        return Answer(found)

    @beside.post("/nothing")
    async def nothing(request: Request) -> Answer:
        return Answer({"bytes": len(await request.body())})

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        chosen = beside if scope["type"] == "http" and scope["path"] in ("/engine", "/nothing") else service
        await chosen(scope, receive, send)

    with Path(os.devnull).open("w") as nowhere:  # each request is logged, as by default
        configure_logs(settings, nowhere)
        config = uvicorn.Config(app, port=PORT, log_config=None, access_log=False, http=bounded_protocol(settings))
        asyncio.run(uvicorn.Server(config).serve())


@contextmanager
def serving(models: Path) -> Iterator[None]:
    process = subprocess.Popen([sys.executable, __file__, "--serve", str(models)])
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/health/ready", timeout=1)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        else:
            raise SystemExit("error: the service was not ready within a minute")
        yield
    finally:
        process.terminate()
        process.wait()


def wrk(path: str, clients: int, bodies: Path, script: Path) -> dict[str, float]:
    """Return p50 and p99 in milliseconds, and requests/s."""
    output = subprocess.run(
        [
            "wrk",
            "-t1",
            f"-c{clients}",
            f"-d{SECONDS}s",
            "--latency",
            "-s",
            str(script),
            f"http://127.0.0.1:{PORT}{path}",
        ],
        env={**os.environ, "BODIES": str(bodies)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    if "Non-2xx" in output:
        raise SystemExit(f"error: some answers were refused:\n{output}")
    scale = {"us": 1e-3, "ms": 1, "s": 1e3}
    found = {}
    for share in ("50", "99"):
        value, unit = re.search(rf"{share}%\s+([\d.]+)(us|ms|s)", output).groups()
        found[f"p{share}"] = float(value) * scale[unit]
    return {**found, "rate": float(re.search(r"Requests/sec:\s+([\d.]+)", output).group(1))}


if __name__ == "__main__":
    main()

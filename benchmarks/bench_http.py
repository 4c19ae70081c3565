"""
Latency of `/recommend` and time in the engine, ranked and by the first stage; requests/s of both and of an endpoint
that does nothing.

    python benchmarks/bench_http.py [DATA...] [--models MODELS]     default: a synthetic world of 50,000 playlists

One worker; `wrk` (Debian: apt-get install wrk) sends the same 320 playlists of 30 seeds, k = 100, over kept-alive
connections. The measurements take turns, seven rounds each; the figures are medians of the rounds. The version is that
of the store MODELS, or trained here.
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
    parser.add_argument("--models", type=Path, help="a store with a version of these data, so that none is trained")
    parser.add_argument("--serve", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve)
        return
    if shutil.which("wrk") is None:
        raise SystemExit("error: wrk is not installed; on Debian: apt-get install wrk")
    with tempfile.TemporaryDirectory() as directory:
        paths, models = options.data, options.models or Path(directory, "models")
        if not paths:
            paths = [Path(directory, "synthetic-50000")]
            synthesize(paths[0], 50_000, seed=0)
        if options.models is None:
            train(paths, models, Configs.of(), Plan(hold_out=False))
        print(f"\n{describe_machine()}\ndata: {', '.join(path.name for path in paths)}\n")
        bench(Path(directory), paths, models)


def bench(directory: Path, paths: list[Path], models: Path) -> None:
    playlists = playlists_of_30(build_dataset(read(paths)))
    script = directory / "wrk.lua"
    script.write_text(LUA)
    for rank in (True, False):
        lines = (json.dumps({"tracks": list(each.tracks), "k": K, "rank": rank}) for each in playlists)
        (directory / f"{rank}.jsonl").write_text("\n".join(lines) + "\n")
    recommender = Recommender.open(Store(models).current())
    gc.collect()
    gc.freeze()

    rounds: dict[bool, list[dict[str, float]]] = {True: [], False: []}
    nothing = []
    with serving(models):
        for _ in range(ROUNDS):
            for rank, found in rounds.items():
                found.append(measure(recommender, playlists, rank, directory / f"{rank}.jsonl", script))
            nothing.append(wrk("/nothing", CLIENTS, directory / "True.jsonl", script)["rate"])
    ranks = recommender.ranks
    recommender.close()

    print(f"/recommend: {len(playlists)} playlists of 30 seeds, k = {K}, one worker, {ROUNDS} rounds of {SECONDS} s")
    for rank, found in rounds.items():
        middle = {name: median(row[name] for row in found) for name in found[0]}
        print("ranked" if rank and ranks else "the first stage")
        print(f"  the engine in a loop of its own    p50 {middle['tight']:6.2f} ms")
        print(f"  the engine within the requests     p50 {middle['within']:6.2f} ms")
        print(
            f"  the requests, 1 client             p50 {middle['p50']:6.2f} ms   p99 {middle['p99']:6.2f} ms   "
            f"HTTP adds {middle['added']:.2f} ms"
        )
        share = middle["rate"] / median(nothing)
        print(f"  the requests, {CLIENTS} clients            {middle['rate']:6.0f} requests/s   {share:.3f} of nothing")
    print(f"nothing, the same body, {CLIENTS} clients    {median(nothing):6.0f} requests/s")


def measure(
    recommender: Recommender, playlists: Sequence[Playlist], rank: bool, bodies: Path, script: Path
) -> dict[str, float]:
    """Return times in milliseconds and requests/s of one round."""
    options = Options(K, rank=rank)
    tight = median(timed(lambda i: recommender.recommend([playlists[i]], options), range(len(playlists)))) * 1e3
    engine_ms()
    alone, within = wrk("/recommend", 1, bodies, script), engine_ms()
    rate = wrk("/recommend", CLIENTS, bodies, script)["rate"]
    return {**alone, "tight": tight, "within": within, "added": alone["p50"] - within, "rate": rate}


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

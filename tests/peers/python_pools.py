"""The same experiments for Python's pools: workers killed while they have tasks, and the program killed.

    python3 tests/peers/python_pools.py [--runs N]

Prints a line for each. A worker is killed once, at a random moment, while a thousand tasks of a millisecond each are
under way on four workers.
"""

import argparse
import concurrent.futures
import concurrent.futures.process
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time

TASKS = 1000
WORKERS = 4
PATIENCE = 20.0


def work(number):
    time.sleep(0.001)
    return number


def executor_with_a_kill(seed):
    chance = random.Random(seed)
    executor = concurrent.futures.ProcessPoolExecutor(WORKERS)
    list(executor.map(work, range(WORKERS)))
    tasks = [executor.submit(work, number) for number in range(TASKS)]
    time.sleep(chance.uniform(0.02, 0.15))
    os.kill(chance.choice(list(executor._processes)), signal.SIGKILL)
    done, waiting = concurrent.futures.wait(tasks, timeout=PATIENCE)
    failed = sum(1 for task in done if task.exception() is not None)
    try:
        dead = executor.submit(work, 7).result(PATIENCE) != 7
    except concurrent.futures.process.BrokenProcessPool:
        dead = True
    executor.shutdown(wait=False, cancel_futures=True)
    return {"failed": failed, "never resolved": len(waiting), "executor dead afterwards": dead}


def pool_with_a_kill(seed):
    chance = random.Random(seed)
    pool = multiprocessing.Pool(WORKERS)
    pool.map(work, range(WORKERS))
    tasks = [pool.apply_async(work, (number,)) for number in range(TASKS)]
    time.sleep(chance.uniform(0.02, 0.15))
    os.kill(chance.choice(pool._pool).pid, signal.SIGKILL)
    deadline = time.monotonic() + PATIENCE
    failed = waiting = 0
    for task in tasks:
        task.wait(max(0.0, deadline - time.monotonic()))
        if not task.ready():
            waiting += 1
        elif not task.successful():
            failed += 1
    try:
        dead = pool.apply_async(work, (7,)).get(PATIENCE) != 7
    except multiprocessing.TimeoutError:
        dead = True
    pool.terminate()
    return {"failed": failed, "never resolved": waiting, "pool dead afterwards": dead}


def be_a_parent(kind):
    """Is killed: prints the numbers of its workers and waits."""
    if kind == "executor":
        executor = concurrent.futures.ProcessPoolExecutor(WORKERS)
        list(executor.map(work, range(TASKS)))
        pids = list(executor._processes)
    else:
        pool = multiprocessing.Pool(WORKERS)
        pool.map(work, range(TASKS))
        pids = [process.pid for process in pool._pool]
    print(json.dumps(pids), flush=True)
    time.sleep(3600)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as stat:
            return stat.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


def orphans(kind):
    parent = subprocess.Popen([sys.executable, __file__, "--parent", kind], stdout=subprocess.PIPE)
    pids = json.loads(parent.stdout.readline())
    parent.kill()
    parent.wait()
    time.sleep(1.0)
    left = [pid for pid in pids if alive(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    return {"alive 1 s after": len(left), "of": len(pids)}


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--runs", type=int, default=3)
    arguments.add_argument("--parent")
    chosen = arguments.parse_args()
    if chosen.parent:
        return be_a_parent(chosen.parent)
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {TASKS} tasks, {WORKERS} workers")
    for run in range(1, chosen.runs + 1):
        print(f"ProcessPoolExecutor, 1 kill, seed {run}: {executor_with_a_kill(run)}", flush=True)
        print(f"multiprocessing.Pool, 1 kill, seed {run}: {pool_with_a_kill(run)}", flush=True)
    for kind in ("executor", "pool"):
        total = [orphans(kind) for _ in range(chosen.runs)]
        left, of = sum(it["alive 1 s after"] for it in total), sum(it["of"] for it in total)
        print(f"{kind}, parent killed {chosen.runs} times: {left} of {of} workers alive 1 s later", flush=True)


if __name__ == "__main__":
    main()

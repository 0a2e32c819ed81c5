"""Real processes of torch.distributed for tests: one start serves many checks."""

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

SECONDS = 240


def run(function, world, folder: Path, *arguments, dies=()):
    """What `function(rank, world, *arguments)` returns in each of `world` gloo processes.

    An exception is what the process returns. Fails where a process has not ended in time, and
    gives None for those that `dies` names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    context = torch.multiprocessing.get_context("spawn")
    given = (function, world, str(folder), arguments)
    processes = [context.Process(target=_main, args=(rank, *given)) for rank in range(world)]
    for process in processes:
        process.start()
    end = time.monotonic() + SECONDS
    for process in processes:
        process.join(max(end - time.monotonic(), 0.1))
    hanging = [rank for rank, process in enumerate(processes) if process.is_alive()]
    for rank in hanging:
        processes[rank].kill()
    assert not hanging, f"ranks {hanging} did not end in {SECONDS} s"
    files = [folder / f"{rank}.pt" for rank in range(world)]
    lost = [rank for rank, file in enumerate(files) if not file.exists() and rank not in dies]
    assert not lost, f"ranks {lost} ended without a result"
    return [torch.load(file, weights_only=False) if file.exists() else None for file in files]


def _main(rank, function, world, folder, arguments):
    import torch._dynamo  # seconds of an optimizer's first method call

    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank))
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world
    )
    try:
        result = function(rank, world, *arguments)
    except Exception as error:
        result = error
    torch.save(result, f"{folder}/{rank}.pt.part")
    os.replace(f"{folder}/{rank}.pt.part", f"{folder}/{rank}.pt")
    dist.destroy_process_group()

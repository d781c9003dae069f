"""Several processes that train one model: their shares of a batch, and their communication.

``torchrun`` starts them; they communicate through torch.distributed, by gloo on CPUs and NCCL on GPUs. In a single
process nothing here has an effect.
"""

# torch.distributed has more public names than it lists
# pyright: reportPrivateImportUsage=false

from __future__ import annotations

import gc
import hashlib
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from uuid import uuid4

import torch
import torch.distributed as dist
from torch import Tensor, nn

TIMEOUT = timedelta(minutes=10)  # a process that waits longer for another takes it for lost


class LostProcessError(RuntimeError):
    """Another process of the same training has ended, or doesn't respond."""


@dataclass(frozen=True)
class Processes:
    """The processes that train one model together.

    Attributes
    ----------
    rank : int
        The number of this process, from 0.
    size : int
        The number of processes.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_first(self) -> bool:
        """True for the process that writes files and messages for all."""
        return self.rank == 0

    def share(self, n_rows: int) -> Share:
        """The part of a batch of ``n_rows`` that this process works on.

        If there are fewer rows than processes, a process without a row works on the first one with weight 0, because
        not every layer takes an empty batch.
        """
        if self.size == 1:
            return WHOLE
        start, stop = (n_rows * rank // self.size for rank in (self.rank, self.rank + 1))
        return Share(start, stop, n_rows, self) if start < stop else Share(0, 1, n_rows, self, counts=False)

    def replicate(self, module: nn.Module) -> None:
        """Give the weights of the first process to all."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, 0)

    def average(self, gradients: Sequence[Tensor]) -> None:
        """Replace gradients by their means over all processes, the same bits in each.

        They are added up as one vector. torch's ``DistributedDataParallel`` arranges them anew after its first step,
        and with it the order of the additions, so that a run that is continued would round otherwise.
        """
        if self.size == 1:
            return
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        means = flat.div_(self.size).split([gradient.numel() for gradient in gradients])
        for gradient, mean in zip(gradients, means, strict=True):
            gradient.copy_(mean.view_as(gradient))

    def sum(self, values: Tensor) -> Tensor:
        """The sum over all processes, bit-identical in each."""
        if self.size > 1:
            values = values.clone()
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """True if the flag is True in any process."""
        return flag if self.size == 1 else bool(self.sum(self._tensor([flag])).item())

    def from_first(self, content: bytes) -> bytes:
        """The first process's content, in all processes."""
        if self.size == 1:
            return content
        length = self._tensor([len(content) if self.is_first else 0])
        dist.broadcast(length, 0)
        message = torch.empty(int(length.item()), dtype=torch.uint8, device=length.device)
        if self.is_first and content:
            message.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))
        dist.broadcast(message, 0)
        return message.cpu().numpy().tobytes()

    def number_of_first(self, number: int) -> int:
        """The first process's number, in all processes."""
        return int(self.from_first(str(number).encode()))

    def _tensor(self, numbers: Sequence[int]) -> Tensor:
        device = "cpu" if "cpu" in dist.get_backend_config() else "cuda"
        return torch.tensor(numbers, dtype=torch.int64, device=device)


ALONE = Processes()


@dataclass(frozen=True)
class Share:
    """The rows ``start`` to ``stop`` of a batch of ``n_rows``, one process's share.

    Without arguments: all rows, in one process.
    """

    start: int = 0
    stop: int | None = None
    n_rows: int | None = None
    processes: Processes = ALONE
    counts: bool = True

    def sum(self, values: Tensor) -> Tensor:
        """The sum over this process's rows, (B, *) → (*)."""
        return values.sum(0) if self.counts else values.sum(0) * 0

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all rows of the batch, (B, *) → (*); differentiable."""
        if self.n_rows is None:
            return values.mean(0)
        return _Sum.apply(self.sum(values)) / self.n_rows  # type: ignore[operator]

    def gather(self, values: Tensor) -> Tensor:
        """The values of all rows of the batch, (*, B) → (*, n_rows); not differentiable."""
        if self.n_rows is None:
            return values
        whole = values.new_zeros(*values.shape[:-1], self.n_rows)
        if self.counts:
            whole[..., self.start : self.stop] = values
        return self.processes.sum(whole)

    def objective(self, losses: Tensor) -> Tensor:
        """This process's part of the mean loss, (B,) → (); the mean of the parts is the mean over all rows."""
        if self.n_rows is None:
            return losses.mean()
        return self.sum(losses) * (self.processes.size / self.n_rows)


WHOLE = Share()


class _Sum(torch.autograd.Function):
    """The sum over processes, whose gradient is the sum of the processes' gradients."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        total = values.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> Tensor:
        return _Sum.forward(ctx, gradients[0])


def current() -> Processes:
    """The processes of torch's default process group, or this one alone."""
    if dist.is_available() and dist.is_initialized():
        return Processes(dist.get_rank(), dist.get_world_size())
    return ALONE


def n_started() -> int:
    """The number of processes that ``torchrun`` started together with this one, by its environment variables."""
    return int(os.environ.get("WORLD_SIZE", "1")) if "RANK" in os.environ else 1


@contextmanager
def join() -> Iterator[Processes]:
    """Join the other processes that ``torchrun`` started: fits within the context train one model in all of them.

    On a machine with GPUs each process takes the GPU of its local rank, also for ``device="auto"`` and ``"cuda"``.
    Nothing changes in a single process, or if torch's default process group exists already.

    Raises
    ------
    LostProcessError
        If another process ends while this one needs it.

    Examples
    --------
    In a script that is started by ``torchrun --nproc-per-node=2 script.py``::

        with lowerbound.parallel.join() as processes:
            vae = lowerbound.VAE(random_state=0).fit(X)  # the same X in all processes
            if processes.is_first:
                vae.save("model")
    """
    if n_started() == 1 or dist.is_initialized():
        yield current()
        return
    with _loss_noticed():
        _initialize()
        try:
            yield current()
        finally:
            gc.collect()  # replicas of modules hold the group's threads, which must end before the interpreter
            dist.destroy_process_group()


def _initialize() -> None:
    backend = _take_device()
    store, rank, size = next(dist.rendezvous("env://", timeout=TIMEOUT))
    dist.init_process_group(backend, store=_of_these(store, rank, size), rank=rank, world_size=size, timeout=TIMEOUT)


def _of_these(store: dist.Store, rank: int, size: int) -> dist.Store:
    """A part of the store that only these processes write to.

    ``torchrun`` keeps one store when it restarts processes, and addresses of ended processes in it would be mistaken
    for those of the present ones. So each process writes a random number, and a hash of the numbers of all; once all
    hashes agree, the hash is a new name.
    """
    store.set(f"number of {rank}", uuid4().hex)
    deadline = time.monotonic() + TIMEOUT.total_seconds()
    while time.monotonic() < deadline:
        name = hashlib.sha256(b"".join(store.get(f"number of {other}") for other in range(size))).hexdigest()
        store.set(f"read by {rank}", name)
        if all(store.get(f"read by {other}").decode() == name for other in range(size)):
            return dist.PrefixStore(name, store)
        time.sleep(0.05)
    raise LostProcessError(f"process {rank} waited too long for the other {size - 1}")


def _take_device() -> str:
    """Select this process's GPU, if the machine has any; return the backend of torch.distributed."""
    if not torch.cuda.is_available():
        return "gloo"
    local_rank, n_devices = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if local_rank >= n_devices:
        raise ValueError(
            f"process {local_rank + 1} of this machine has no GPU, there are {n_devices}: "
            f"start torchrun with --nproc-per-node={n_devices}, or hide the GPUs with CUDA_VISIBLE_DEVICES="
        )
    torch.cuda.set_device(local_rank)
    return "cpu:gloo,cuda:nccl"


@contextmanager
def _loss_noticed() -> Iterator[None]:
    """Turn errors of communication into a ``LostProcessError``."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, dist.DistError) and "gloo" not in str(error).lower():
            raise
        rank = os.environ.get("RANK", "?")
        raise LostProcessError(
            f"process {rank} lost another process of this training, whose own message says why "
            f"({' '.join(str(error).split())})"
        ) from error

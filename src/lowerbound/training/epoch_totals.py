"""Totals over the steps of an epoch, kept on the device so that no step waits for it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lowerbound.parallel import Processes


class EpochTotals:
    """Sums over the rows of the epoch so far, in float64, and the number of skipped steps.

    Each of several processes sums over its own rows; all skip the same steps.

    Parameters
    ----------
    processes : Processes
    device : torch.device

    Attributes
    ----------
    sums : Tensor of float64, shape (2,)
        Σ log p(x|z) and Σ KL, in nats.
    n_rows : Tensor of int64, shape ()
        The number of rows in the sums, without those of skipped steps.
    skipped : Tensor of int64, shape (2,)
        Skipped steps of this epoch, and the latest steps in a row without a finite gradient.
    """

    def __init__(self, processes: Processes, device: torch.device) -> None:
        self.processes = processes
        self.sums: Tensor = torch.zeros(2, dtype=torch.float64, device=device)
        self.n_rows: Tensor = torch.zeros((), dtype=torch.int64, device=device)
        self.skipped: Tensor = torch.zeros(2, dtype=torch.int64, device=device)
        self.latest: tuple[Tensor, Tensor] = self.sums[0], self.sums

    def enter(self, loss: Tensor, totals: Tensor, n_rows: int, *, skip: Tensor, broken: Tensor) -> None:
        """Add a step.

        Parameters
        ----------
        loss : Tensor, shape ()
        totals : Tensor, shape (2,)
            Σ log p(x|z) and Σ KL over its rows.
        n_rows : int
        skip, broken : Tensor of bool, shape ()
            True if the step was skipped; True if its gradient is not finite.
        """
        self.sums += torch.where(skip, 0.0, totals)
        self.n_rows += torch.where(skip, 0, n_rows)
        self.skipped = torch.stack([self.skipped[0] + skip, (self.skipped[1] + 1) * broken])
        self.latest = loss, totals

    def means(self) -> tuple[float, float]:
        """E_q log p(x|z) and KL, nats a row, over this process's rows; NaN where there are none."""
        log_px, kl = (self.sums / self.n_rows).tolist()
        return log_px, kl

    def settle(self) -> None:
        """Move the sums of all processes to the first; the others then hold zeros."""
        if self.processes.size == 1:
            return
        self.sums, self.n_rows = self.processes.sum(self.sums), self.processes.sum(self.n_rows)
        if not self.processes.is_first:
            self.sums.zero_()
            self.n_rows.zero_()

    def close(self) -> tuple[float, float, int]:
        """Return the epoch's E_q log p(x|z) and KL over all rows, and its skipped steps, and begin the next epoch."""
        sums, n_rows = self.processes.sum(self.sums), self.processes.sum(self.n_rows)
        log_px, kl = (sums / n_rows).tolist()
        n_skipped = int(self.skipped[0])
        self.sums.zero_()
        self.n_rows.zero_()
        self.skipped[0] = 0
        return log_px, kl, n_skipped

    def broken_term(self) -> tuple[str, str]:
        """The name of the term that was not finite in the last step, and its value in brackets."""
        loss, totals = self.latest
        loss, log_px, kl = self.processes.sum(torch.stack([loss, *totals])).tolist()
        if math.isfinite(loss):
            return "gradient", ""
        return ("KL term", f" ({kl:g})") if math.isfinite(log_px) else ("reconstruction", f" ({log_px:g})")

    def state(self) -> dict[str, Tensor]:
        """The tensors for a checkpoint; of several processes the first's, just after ``settle``."""
        return {"sums": self.sums, "n_rows": self.n_rows, "skipped": self.skipped}

    def load_state(self, tensors: dict[str, Tensor]) -> None:
        """Continue from the tensors of ``state``."""
        for name in ("sums", "n_rows", "skipped"):
            setattr(self, name, tensors[name].to(self.sums.device).clone())
        if not self.processes.is_first:
            self.sums.zero_()
            self.n_rows.zero_()

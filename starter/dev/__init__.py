"""`durabill dev`: the embedded stack and durabill's own processes on one machine, brought up, watched and stopped."""

from starter.dev.commands import dev_env, dev_status, run_dev, stop_dev
from starter.dev.supervisor import Dev, Supervisor

__all__ = ["Dev", "Supervisor", "dev_env", "dev_status", "run_dev", "stop_dev"]

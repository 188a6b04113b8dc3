"""A fake Vast.ai: the real API's calls, states, delays, limits and failures, scripted, for tests and to try out.

`running_fake()` serves it from a thread; `midas vast fake` in a process of its own.
"""

from midas_ray.cloud.fake.machines import Machines, NoMachines
from midas_ray.cloud.fake.running import FakeHandle, running_fake
from midas_ray.cloud.fake.script import Failure, Plan, Script

__all__ = ["Failure", "FakeHandle", "Machines", "NoMachines", "Plan", "Script", "running_fake"]

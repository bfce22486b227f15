"""What the tests need beside the bus: a clock in the test's hands, seeded interleaving, and turns of an event loop.

It is to become the public test kit, so it uses public API alone.
"""

from tests.kit.clock import ManualClock
from tests.kit.scheduler import ShufflingLoop, interleave, turns
from tests.kit.stepping import Steps

__all__ = ["ManualClock", "ShufflingLoop", "Steps", "interleave", "turns"]

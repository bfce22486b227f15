"""Waiting and time: what the engine may not know of. `parking.py` suspends and wakes; `clock.py` reads the clocks."""

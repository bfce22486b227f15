"""The engine: what happens to messages, decided under one lock. No await, no thread, no clock, no I/O, no user code.

Read `engine.py` for how a message enters, `queue.py` for how it waits, is lent and comes back, `leases.py` for the
life of a delivery, `waiting.py` for how those who must wait are kept in order.
"""

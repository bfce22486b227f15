"""Every figure of the README against its peer, in one run: `python -m benchmarks`.

A figure compares two sides that do the same work; a file per subject (`queues.py`, `topics.py`, ...) holds its sides
and ends with its `FIGURES`. To add a figure, write the two sides and add a `Figure` there; a new subject is listed in
`catalogue.py`.
"""

"""Every figure there is, subject by subject."""

from __future__ import annotations

from benchmarks import filters, floors, footprint, handlers, journal, policies, queues, threads, topics
from benchmarks.harness import Figure

FIGURES: tuple[Figure, ...] = (
    *queues.FIGURES,
    *topics.FIGURES,
    *filters.FIGURES,
    *threads.FIGURES,
    *handlers.FIGURES,
    *policies.FIGURES,
    *journal.FIGURES,
    *footprint.FIGURES,
    *floors.FIGURES,
)


def chosen(part: str, figures: tuple[Figure, ...] = FIGURES) -> tuple[Figure, ...]:
    """The figures whose name or peer contains this text, in any case; all of them for an empty one."""
    return tuple(figure for figure in figures if part.lower() in figure.label.lower())

"""The journal: one SQLite file with one owner, one connection that writes, and one thread that has it."""

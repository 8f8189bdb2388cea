"""The classes that users call: short compositions of the rest."""

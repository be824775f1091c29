"""Databases of ours: opened without harm, changed whole or not at all, and erased so that no byte stays."""

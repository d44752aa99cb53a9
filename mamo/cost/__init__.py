"""Estimate what a plan costs before it is run: operations counted from the models' shapes, time, disk. Needs no torch."""

"""Evaluation: filtered ranks, the figures made of them, and calibration."""

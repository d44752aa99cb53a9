"""Figures that trained models draw: examples by a fixed rule, their Grad-CAM maps, drawings and pages."""

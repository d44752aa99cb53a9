"""Figures drawn from trained models: examples chosen by a fixed rule, their Grad-CAM maps, drawings and pages."""

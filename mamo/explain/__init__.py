"""Grad-CAM on the fusion encoder's attention: show where the network looks (section 4.6, appendix A)."""

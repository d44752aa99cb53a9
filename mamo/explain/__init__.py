"""Where the network looks: Grad-CAM on the fusion encoder's attention (section 4.6, appendix A)."""

"""Use trained models outside of the workbench: load them with one call, export them to a folder, publish them."""

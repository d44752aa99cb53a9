"""Writers of the generated releases, one module per official layout."""

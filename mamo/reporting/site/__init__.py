"""``index.html``: everything that a scale found on one page, which asks no other host for anything."""

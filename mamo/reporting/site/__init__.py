"""``index.html``: all results of a scale on one page that loads nothing from other hosts."""

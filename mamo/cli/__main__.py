"""``python -m mamo.cli``: the ``mamo`` command without its entry point."""

import sys

from mamo.cli.main import main

sys.exit(main())

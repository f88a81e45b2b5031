"""``python -m elastic`` is the ``elastic`` command."""

from __future__ import annotations

import sys

from elastic.cli import main

sys.exit(main())

"""`python -m widevalley.cli`."""

import sys

from widevalley.cli import main

sys.exit(main())

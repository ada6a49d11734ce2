"""No test of the tables may fail because the machine is busy."""

import os

os.environ.setdefault("ADVERSARIAL_PATIENCE", "10")  # before the tables are imported

"""What the papers print, to stand beside our numbers: one CSV file for each table or figure."""

from pathlib import Path

REFERENCE = Path(__file__).parent

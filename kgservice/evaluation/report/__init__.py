"""One HTML file that shows a release to people: figures, curves, reliability, and a map of what was learnt.

The file loads nothing and runs nothing. Charts are inline SVG whose colours are CSS variables, so that they follow the
reader's light or dark theme; bars and the map are written by the template, so that their labels stay text. Labels are
data: the template escapes all of them. The same input gives the same bytes.
"""

from kgservice.evaluation.report.models import ModelReport
from kgservice.evaluation.report.page import write_report
from kgservice.evaluation.report.probe import write_probe

__all__ = ["ModelReport", "write_probe", "write_report"]

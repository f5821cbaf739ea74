"""What a sweep found, its report, and what it would do."""

from cnnlab.search.findings.findings import Confirmed, Findings, findings_of, sweep_result
from cnnlab.search.findings.preview import Preview, preview
from cnnlab.search.findings.report import load_plots, write_report

__all__ = [
    "Confirmed",
    "Findings",
    "Preview",
    "findings_of",
    "load_plots",
    "preview",
    "sweep_result",
    "write_report",
]

"""Measures of generated images: FID and its company, seeded, cached by content, and honest about small numbers.

import metrics
[result] = metrics.compute(["swd2k"], G=G_ema, dataset=dataset)
result.results                                        # {"swd2k": ..., "swd2k_32": ..., "swd2k_16": ...}
"""

from metrics.detectors.detector import DetectorUnavailable
from metrics.evaluation import compare, compute
from metrics.names import check_names, higher_is_better, list_names, tells_copying
from metrics.results import Result
from metrics.run_metrics import RunMetrics
from metrics.settings import EvaluationSettings

__all__ = [
    "DetectorUnavailable",
    "EvaluationSettings",
    "Result",
    "RunMetrics",
    "check_names",
    "compare",
    "compute",
    "higher_is_better",
    "list_names",
    "tells_copying",
]

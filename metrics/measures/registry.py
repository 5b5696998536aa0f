"""The kinds of metrics. One is a file of this room with a subclass of `Metric`, and a line here."""

from metrics.measures.copies import Copies
from metrics.measures.frechet import FrechetDistance, FrechetInfinity
from metrics.measures.inception_score import InceptionScore
from metrics.measures.kernel import KernelDistance
from metrics.measures.manifold import DensityCoverage, PrecisionRecall
from metrics.measures.memorisation import Authenticity, CopyTest
from metrics.measures.metric import Metric
from metrics.measures.path_length import PathLength
from metrics.measures.sliced_features import SlicedFeatures
from metrics.measures.swd import SlicedWasserstein

METRICS: tuple[type[Metric], ...] = (
    FrechetDistance,
    FrechetInfinity,
    KernelDistance,
    PrecisionRecall,
    DensityCoverage,
    InceptionScore,
    PathLength,
    SlicedWasserstein,
    SlicedFeatures,
    Copies,
    Authenticity,
    CopyTest,
)

"""Results for continuous integration: annotations of GitHub, JUnit XML and SARIF, for every verb that finds faults."""

from .annotations import MAX_ANNOTATIONS, annotation
from .junit import JunitTest, junit
from .sarif import Alert, sarif

__all__ = ["MAX_ANNOTATIONS", "Alert", "JunitTest", "annotation", "junit", "sarif"]

# The public names, for type checkers. `__init__.py` imports each of them at its first use.
from .core.errors import UsageError as UsageError
from .oracle import Reference as Reference
from .oracle import linear_reference as linear_reference
from .oracle import reference as reference
from .reports import bitwise as bitwise
from .reports import distributions as distributions
from .reports import safety as safety
from .reports import style as style
from .reports import tables as tables
from .runner import run as run
from .storage.querying import query as query
from .storage.querying import read as read
from .studies.audit import AuditResult as AuditResult
from .studies.audit import audit as audit
from .studies.browse.listing import catalogue as catalogue
from .studies.browse.listing import implementations as implementations
from .studies.check import BitwiseResult as BitwiseResult
from .studies.check import CheckResult as CheckResult
from .studies.check import check as check
from .studies.compare import Comparison as Comparison
from .studies.compare import compare as compare
from .studies.exhaustive import Exhaustive as Exhaustive
from .studies.exhaustive import exhaustive as exhaustive
from .studies.explain import Explanation as Explanation
from .studies.explain import explain as explain
from .studies.history import History as History
from .studies.history import history as history
from .studies.hunt import Hunt as Hunt
from .studies.hunt import hunt as hunt
from .studies.largest import Largest as Largest
from .studies.largest import largest as largest
from .studies.matrix import Matrix as Matrix
from .studies.matrix import matrix as matrix
from .studies.reproduce import reproduce as reproduce
from .studies.testing import assert_conforms as assert_conforms

__version__: str

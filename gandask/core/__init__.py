"""The nouns of gandask: tasks, plans, reports, events and the methods that speak them.

A *method* is a pure state machine in the client: it reads reports and answers with a plan of
tasks. A task is a pure function from states to states, performed wherever its slot lives. This
package knows neither torch nor Dask.
"""

from gandask.core.chance import rng, seed_sequence, torch_seed
from gandask.core.errors import (
    ClusterError,
    DataError,
    MethodError,
    SettingError,
    StoreError,
    TaskError,
)
from gandask.core.hosting import Hosted, Hosting
from gandask.core.layout import Figure, Layout, Role, Variable
from gandask.core.method import BEST, IDENTITY, WHERE, Method, View, alike, nearest_multiple
from gandask.core.tasks import (
    NON_FINITE,
    SHOWN,
    Array,
    Call,
    Event,
    Made,
    Plan,
    Record,
    Report,
    Signal,
    Stage,
    State,
    Task,
    Values,
    slot_of,
)
from gandask.core.telling import Told, apart, better_together, listening, progress, reach, routine

__all__ = [
    "BEST",
    "IDENTITY",
    "NON_FINITE",
    "SHOWN",
    "WHERE",
    "Array",
    "Call",
    "ClusterError",
    "DataError",
    "Event",
    "Figure",
    "Hosted",
    "Hosting",
    "Layout",
    "Made",
    "Method",
    "MethodError",
    "Plan",
    "Record",
    "Report",
    "Role",
    "SettingError",
    "Signal",
    "Stage",
    "State",
    "StoreError",
    "Task",
    "TaskError",
    "Told",
    "Values",
    "Variable",
    "View",
    "alike",
    "apart",
    "better_together",
    "listening",
    "nearest_multiple",
    "progress",
    "reach",
    "rng",
    "routine",
    "seed_sequence",
    "slot_of",
    "torch_seed",
]

"""Makes JSON the serializer that RQ takes where none is named: in the tests' process and in a worker's children."""

from __future__ import annotations

import rq.serializers
import rq.worker_pool
from rq.serializers import JSONSerializer

for module, name in (
    (rq.serializers, "DefaultSerializer"),
    (rq.serializers, "PickleSerializer"),
    (rq.worker_pool, "DefaultSerializer"),
):
    setattr(module, name, JSONSerializer)

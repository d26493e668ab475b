"""RQ's own tests of its workers, run against FleetWorker; see docs/rq-compatibility.md."""

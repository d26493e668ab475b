"""Steps of workers: lease, renew, settle, reap, wake up, die, come back, with lost replies and clocks that jump."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from jobs.engine import keys
from jobs.engine.outcome import Outcome
from jobs.engine.worker.leasing import SLOT, Leased
from jobs.engine.worker.running import Running
from tests.engine.protocol.checks import check_all_seen, check_in_front, check_order
from tests.engine.protocol.host import Host
from tests.engine.protocol.job import DEATHS_BEFORE_ALONE, UNREADABLE
from tests.engine.protocol.snapshot import Snapshot, split
from tests.engine.protocol.world import CONCURRENCY, QUEUES, TINY, WHICH, World

PAST = 1
OUTCOMES = {
    "finished": Outcome("finished", value="1"),
    "failed": Outcome("failed", error_type="E", message="m", traceback="t"),
    "cancelled": Outcome("cancelled", error_type="Cancelled"),
    "retry": Outcome("retry", error_type="E"),
    "later": Outcome("retry", error_type="E", wait=timedelta(minutes=10)),
    "released": Outcome("released", message="the worker shuts down"),
    "lost": Outcome("lost", error_type="WorkerLost", message="its process died"),
    "quarantined": Outcome("quarantined", message="not trusted"),
}
ALONE_CLAIM = f"{keys.FLEET}:alone-claim"
"""Who runs empty for a suspect: for three seconds, which here are over when `run_out` says so."""
HOST = st.integers(0, 2)
PICKS = st.lists(st.integers(1, len(QUEUES)), max_size=4)
CLOCKS = st.integers(0, 4 * 10**9).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))
TIMES = st.tuples(st.floats(-1e12, 1e12), st.floats(-1e12, 1e12))
ENDS = st.lists(st.tuples(WHICH, st.sampled_from([*OUTCOMES, "lost", "lost"])), min_size=1, max_size=4)
SLOTS = st.integers(1, CONCURRENCY)
LOST = st.sampled_from([False, False, True])


class Workers(World):
    """Everything that workers do."""

    @rule(number=HOST, slots=SLOTS, picks=PICKS, lost=LOST)
    def lease(self, number: int, slots: int, picks: list[int], lost: bool) -> None:
        """Ask for runs; after a lost reply the same is asked again, now or later."""
        self.ask(self.hosts[number], slots, picks, lost)

    def ask(self, host: Host, slots: int, picks: list[int], lost: bool = False) -> None:
        """One lease call, and what it did held to the model."""
        request, room = host.prepare(f"{next(self.numbers):020x}", slots)
        given = told_before = self._given_before(host, request)
        lanes, was_idle = host.room_of_lanes(), not host.running
        leased = host.lease(picks, lost)
        self.client.expire(ALONE_CLAIM, 3600)
        after = Snapshot(self.client)
        if given:
            self.changes_nothing(self.before)
        else:
            given = self.model.lease(host.name, request, self.before, after)
            check_order(self.model, self.before, after, QUEUES, host.name)
            self._check_pause(host, given)
            assert {after.job(split(member)[0])["started_at"] for member in given} <= {host.network.now}
        if leased is None:
            return
        assert [f"{run.job_id}:{run.execution_id}" for run in leased.runs] == given
        self._check_runs(host, leased, room, lanes, was_idle)
        assert told_before or leased.blocked == self.blocked(host.name)
        left = room - sum(map(host.cost, leased.runs))
        if left >= SLOT and not (told_before or leased.more or any(map(self._is_suspect, leased.runs))):
            room_of = host.room_of_lanes() | dict.fromkeys(self.paused("lane"), 0)
            check_all_seen(self.model, after, host.name, room_of, set(QUEUES) - leased.blocked, not host.running)

    def _given_before(self, host: Host, request: str) -> list[str]:
        """What this request was given already and still is its own, in the order of its executions."""
        running = [job for job in self.model.of("running") if job.host == host.name and not job.unusable]
        known = sorted((job.execution, job.id) for job in running if job.execution.startswith(request))
        return [f"{job_id}:{execution}" for execution, job_id in known]

    def _check_pause(self, host: Host, given: list[str]) -> None:
        blocked, lanes = self.blocked(host.name), self.paused("lane")
        for job_id in self.model.untouched(split(member)[0] for member in given):
            queues = [queue for queue in blocked if job_id in self.before.line(queue, host.name)]
            assert queues == [] and self.before.lane(job_id) not in lanes, f"{job_id} was taken though it is paused"

    def _is_suspect(self, run: Running) -> bool:
        return self.model.jobs[run.job_id].worker_deaths >= DEATHS_BEFORE_ALONE

    def _check_runs(self, host: Host, leased: Leased, room: int, lanes: dict[str, int], was_idle: bool) -> None:
        for run in leased.runs:
            job = self.model.jobs[run.job_id]
            lanes[run.lane] -= host.cost(run)
            room -= host.cost(run)
            assert min(room, lanes[run.lane]) >= 0, f"{host.name} has more than its slots in {run.lane}"
            assert job.attempts is None or run.attempt == job.attempts
            assert run.cancel_requested == job.cancelling
            if self._is_suspect(run):
                assert was_idle and len(leased.runs) == 1 and leased.must_drain, f"{job.id} has company"

    @precondition(lambda self: self.busy())
    @rule(number=HOST)
    def renew(self, number: int) -> None:
        """A heartbeat: it keeps what is this worker's, and brings nothing back."""
        host = self.busy()[number % len(self.busy())]
        held = dict(host.running)
        renewal = host.renew()
        jobs = {execution: self.model.jobs[run.job_id] for execution, run in held.items()}
        kept = {execution for execution, job in jobs.items() if job.state == "running" and job.execution == execution}
        kept -= {execution for execution in kept if jobs[execution].broken in UNREADABLE}
        assert renewal.lost == set(held) - kept
        assert renewal.cancelled == {execution for execution in kept if jobs[execution].cancelling}
        now = Snapshot(self.client)
        assert now.leases == self.before.leases
        assert renewal.waiting == sum(len(now.lists.get(f"fleet:inbox:{host.name}:{queue}", [])) for queue in QUEUES)

    @precondition(lambda self: self.before.batches)
    @rule(number=HOST, which=st.sets(WHICH, max_size=3))
    def record(self, number: int, which: set[int]) -> None:
        """Runs of a worker take longer than their type does: those that are still its own get leases of their own."""
        host = self.hosts[number]
        runs = [run for index, run in enumerate([*host.running.values(), *host.late]) if index in which]
        mine = {run.execution_id for run in runs if self._is_held(run) and run.execution_id in self._shared()}
        assert host.leases.record([(run.job_id, run.execution_id, run.queue) for run in runs]) == len(mine)
        self.redis_is_as_the_model_says()
        assert not mine & self._shared()
        assert mine <= {
            split(each)[1]
            for each in self.before.value(f"wip:{QUEUES[0]}", {}) | self.before.value(f"wip:{QUEUES[1]}", {})
        }

    def _shared(self) -> set[str]:
        return {split(member)[1] for member in self.before.batches}

    def _is_held(self, run: Running) -> bool:
        job = self.model.jobs[run.job_id]
        return job.state == "running" and job.execution == run.execution_id and job.broken not in UNREADABLE

    @precondition(lambda self: self.busy())
    @rule(number=HOST, ends=ENDS, times=TIMES, lost=LOST)
    def settle(self, number: int, ends: list[tuple[int, str]], times: tuple[float, float], lost: bool) -> None:
        """Runs end, those too that this worker lost without knowing; after a lost reply all is told again."""
        host = self.busy()[number % len(self.busy())]
        self.end_runs(host, ends, times)
        self.tell(host, lost)

    def end_runs(self, host: Host, ends: list[tuple[int, str]], times: tuple[float, float]) -> None:
        """Some of a worker's runs are over; what is told of their times is that host's affair."""
        for index, kind in ends:
            runs = [*host.running.values(), *host.late]
            if runs:
                host.end(runs[index % len(runs)], OUTCOMES[kind], *times)

    def busy(self) -> list[Host]:
        """The workers that run something or have something to tell."""
        return [host for host in self.hosts if host.running or host.late or host.ended]

    @rule(number=HOST, ends=ENDS, times=TIMES, slots=SLOTS, picks=PICKS)
    def work(
        self, number: int, ends: list[tuple[int, str]], times: tuple[float, float], slots: int, picks: list[int]
    ) -> None:
        """What a worker does most of the time: some runs end, and others begin."""
        self.take_turn(self.hosts[number], ends, times, slots, picks)

    @rule(number=HOST, ends=ENDS, times=TIMES, slots=SLOTS, picks=PICKS)
    def work_on(
        self, number: int, ends: list[tuple[int, str]], times: tuple[float, float], slots: int, picks: list[int]
    ) -> None:
        """The same again: it is what happens most."""
        self.take_turn(self.hosts[number], ends, times, slots, picks)

    def take_turn(
        self, host: Host, ends: list[tuple[int, str]], times: tuple[float, float], slots: int, picks: list[int]
    ) -> None:
        """Settle; then lease, at times because the doorbell rang, and at times without an answer."""
        self.end_runs(host, ends, times)
        self.tell(host, lost=False)
        if host.known and len(picks) % 2:
            self.client.lmove(keys.queue(QUEUES[picks[0] - 1]), keys.inbox(host.name, QUEUES[picks[0] - 1]))
        self.redis_is_as_the_model_says()
        self.ask(host, slots, picks, lost=len(picks) == 4)

    def tell(self, host: Host, lost: bool) -> None:
        """Settle what has ended, and hold each answer to the model."""
        if host.ended:
            expected = [self.model.settle(each) for each in host.ended]
            words = host.settle(lost)
            assert words is None or words == expected, f"{words} and not {expected}"

    @precondition(lambda self: any(host.told for host in self.hosts))
    @rule(number=HOST, which=WHICH)
    def tell_again(self, number: int, which: int) -> None:
        """An outcome from long ago comes once more, from whatever worker."""
        told = [each for host in self.hosts for each in host.told]
        each = told[which % len(told)]
        expected = self.model.settle(each)
        assert expected != "ok"
        words = self.hosts[number].settle_again([each])
        assert words == [expected], f"{words} and not {expected}: {self.model.jobs[each.run.job_id]}"

    @rule(number=HOST, which=st.sets(WHICH, max_size=2), everything=st.booleans(), outage=st.booleans())
    def run_out(self, number: int, which: set[int], everything: bool, outage: bool) -> None:
        """Leases pass: of one worker, which is dead then, or of some runs. The reaper may have been away itself."""
        host, members = self.hosts[number], sorted(self.before.leases)
        past = {members[index % len(members)] for index in which} if members else set()
        if everything:
            begun = {f"{job.id}:{job.execution}" for job in self.model.of("running") if job.host == host.name}
            past |= begun & self.before.leases
            self.client.zadd(keys.WORKERS, {host.name: PAST}, xx=True)
        self.client.delete(ALONE_CLAIM)
        self.reap(self.let_pass(past), outage)
        if everything and not outage:
            host.known = False
            left = [name for name in Snapshot(self.client).lists if name.startswith(f"fleet:inbox:{host.name}:")]
            assert left == [], "the inbox of a dead worker was left"

    def let_pass(self, members: set[str]) -> set[str]:
        """These leases pass, and with a run of a batch all that it holds; the runs that are to be reaped."""
        requests = {self.before.batches[each] for each in members if each in self.before.batches}
        shared = {member for member, request in self.before.batches.items() if request in requests}
        own = members - shared
        for key, past in ((keys.LEASES, own), (keys.BATCHES, requests)):
            if past:
                self.client.zadd(key, dict.fromkeys(past, PAST), xx=True)
        return own | shared

    def reap(self, past: set[str], outage: bool = False) -> None:
        """Let the reaper run and hold what it says to the model."""
        seconds, _ = self.client.time()
        self.client.set(keys.REAPER, (seconds - 10 if outage else seconds + 60) * 1000)
        reaped, _ = self.hosts[0].leases.reap()
        if outage:
            assert reaped == [], "after an outage of the reaper every lease gets a grace"
            for name in ("fleet:leases", "fleet:batches"):
                assert min(Snapshot(self.client).value(name, {"": PAST + 1}).values()) > PAST
            return
        after = Snapshot(self.client)
        crowds = self._crowds()
        words = dict.fromkeys(past, "")
        for member in sorted(past):
            job_id, execution = split(member)
            job = self.model.jobs[job_id]
            aside = job_id in after.quarantine - self.before.quarantine
            words[member] = self.model.reap(execution, job, crowds.get(job.host, 0) <= 1, aside)
        assert sorted(reaped) == sorted((split(member)[0], word) for member, word in words.items())
        assert not past & after.leases
        check_in_front(
            self.model, self.before, after, [split(member)[0] for member in past if words[member] == "requeued"]
        )
        again, _ = self.hosts[0].leases.reap()
        assert again == []

    def _crowds(self) -> dict[str, int]:
        # Of a job that was spoiled before the reply came its worker never heard: that run is nobody's company.
        known = {execution for host in self.hosts for execution in host.running}
        running = [job for job in self.model.of("running") if job.broken not in UNREADABLE or job.execution in known]
        names = [job.host for job in running]
        return {name: names.count(name) for name in names}

    @rule(number=HOST, queue=st.sampled_from(QUEUES))
    def wake(self, number: int, queue: str) -> None:
        """The doorbell's BLMOVE moves an id into a worker's inbox."""
        host = self.hosts[number]
        if host.known:
            self.client.lmove(keys.queue(queue), keys.inbox(host.name, queue), "LEFT", "RIGHT")

    @rule(number=HOST, what=st.sampled_from(["clock", "tiny", "crash", "end"]), now=CLOCKS, tiny=st.sampled_from(TINY))
    def upset(self, number: int, what: str, now: datetime, tiny: str) -> None:
        """A clock jumps; a worker finds a type tiny; it dies with all it knew, or ends as it should, for another."""
        host = self.hosts[number]
        host.network.clock = now if what == "clock" else host.network.clock
        if what == "tiny" and not (host.running or host.asked):
            host.tiny |= {tiny}
        elif what == "crash":
            self.departed.append(host.name)
            self.hosts[number] = self.new_host()
        elif what == "end" and not (host.running or host.ended or host.asked):
            self._end_worker(host, number)

    def _end_worker(self, host: Host, number: int) -> None:
        host.sign_off(f"{next(self.numbers):020x}")
        self.hosts[number] = self.new_host()
        left = [name for name in Snapshot(self.client).lists if name.startswith(f"fleet:inbox:{host.name}:")]
        assert left == [], "a worker left with ids in its inbox"

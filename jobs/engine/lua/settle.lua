#!lua flags=allow-oom
-- Write the outcomes of several runs, each only while its lease is still this execution's (fencing). Safe to repeat: an
-- outcome that was written before answers 'again'. Jobs whose dependents or other follow-ups are due are recorded.
-- ARGV: prefix, worker, now (RFC 3339), number of heads; then the heads: what runs have in common (JSON: queue, kind, type,
--       seconds to keep, how many of the type to keep, event; and the request, of plain ends: lib_plain_end); then 6 or 9 a run:
--       number of its head, id, execution, return value (base64) or '', begun (epoch s), ended (epoch s), and unless its head
--       names a request flags (r: a renewal may have written RQ's execution records,
--       b, which comes first: it was leased in a batch, l: the job may have logged; of plain RQ jobs n: it returned a Retry,
--       x: it did so too often, a: its retry goes to the front), what else there is to say (JSON: wait before a retry in s, reason, unique lock,
--       traceback zlib and base64, event data, of what raised: attempt, error, text, fingerprint, spent) or '', traceback
--       (zlib) or ''.
-- Seconds to keep: -1 for ever (RQ's result_ttl). Kinds: finished, failed, cancelled, stopped (by RQ's command), retry,
-- released, lost, quarantined.
-- Returns a word a run (ok, again, stale or refused; none at all where each would be ok), then the number of runs that have
-- follow-ups.
--include lib_batch
--include lib_events
--include lib_execution
--include lib_foreign
local P, worker, now = ARGV[1], ARGV[2], ARGV[3]
local time = redis.call('TIME')
local seconds, fraction = tonumber(time[1]), tonumber(time[2]) / 1000000
local LONG, N_HEADS, POISON_DEATHS, TRIM_AT_ONCE, FOLLOWED_KEPT, WORKFLOW_KEPT, TOLD_KEPT = 8, tonumber(ARGV[4]), 3, 200, 60, 86400, 60
local LIVE = {queued = true, started = true, scheduled = true, deferred = true, ready_to_enqueue = true}
local STATUS = {finished = 'finished', failed = 'failed', cancelled = 'canceled', stopped = 'stopped'}
local REGISTRY = {finished = 'finished', failed = 'failed', cancelled = 'canceled', stopped = 'failed'}
local RESULT = {finished = '1', failed = '2', cancelled = '3', retry = '4', lost = '4', stopped = '2', exceeded = '5'}
local leases = P .. ':fleet:leases'
local followed, kept_counts = 0, {}
-- Redis writes numbers out slowly: what is sent with each run is a text.
local texts = setmetatable({}, {__index = function(known, number)
  known[number] = string.format('%d', number)
  return known[number]
end})
-- Times as far as they are the same for ten minutes.
local IN_BATCH, TEN_MINUTES = ('b'):byte(), #'2026-01-01T00:0'
local ended_at, any_dependent = string.format('%.9f', seconds + fraction), true

-- Most calls need no gates, and every function that a script makes costs.
local gates
local function gates_library()
--include lib_gates
  return {leave = leave_gates, open_freed = open_freed, ms = seconds * 1000 + math.floor(tonumber(time[2]) / 1000)}
end

-- A run has ended and gives back what it held, a batch's nothing; who waited for that goes on once all runs are written.
local function leave_gates(id, member)
  if not member then
    return
  end
  gates = gates or gates_library()
  gates.leave(P, id, member, gates.ms)
end

local function open_gates()
  if gates then
    gates.open_freed(P, gates.ms)
  end
end

--include lib_retention

local function follow(run)
  redis.call('ZADD', P .. ':fleet:follow-ups', seconds, run.id .. ':' .. run.execution)
  followed = followed + 1
end

local function expire(key, time)
  if time < 0 then
    return redis.call('PERSIST', key)
  end
  redis.call('EXPIRE', key, texts[time])
end

-- The run's job leaves with everything it has, or stays for as long as its type says; a durable one until the ledger
-- knows of its end, and then for as long.
local function keep(run, key)
  local dependents, dependencies = any_dependent and dependents_of(run.id), run.depends and dependencies_of(run.id)
  local has_dependents = any_dependent and redis.call('EXISTS', dependents) == 1
  if has_dependents or run.workflow or (run.type == '' and has_foreign_follow_ups(key)) then
    follow(run)
    run.keep = run.keep < 0 and run.keep or math.max(run.keep, run.workflow and WORKFLOW_KEPT or FOLLOWED_KEPT)
  end
  if has_dependents then
    expire(dependents, run.keep)
  end
  if dependencies then
    expire(dependencies, run.keep)
  end
  local registered = run.keep
  if run.durable then
    run.keep = LEDGER_KEPT
  end
  if run.keep == 0 then
    return redis.call('UNLINK', key, P .. ':results:' .. run.id, P .. ':fleet:log:' .. run.id, run.steps or key)
  end
  expire(key, run.keep)
  expire(P .. ':results:' .. run.id, run.keep)
  if run.steps and not run.durable then
    expire(run.steps, run.keep)
  end
  if not run.is_plain and run.flags:find('l', 1, true) then
    expire(P .. ':fleet:log:' .. run.id, run.keep)
  end
  later('ZADD', P .. ':' .. REGISTRY[run.kind] .. ':' .. run.queue, registered < 0 and '+inf' or texts[seconds + registered], run.id)
  if run.type ~= '' and not run.durable and not run.workflow then
    count_towards(run)
  end
end

local function finish(run, key, had_error)
  record_result(run)
  redis.call('HSET', key, 'status', STATUS[run.kind], 'ended_at', now, 'settled', run.execution, 'final', '1')
  if run.reason ~= '' or had_error then
    redis.call('HSET', key, 'error', run.reason)
  end
  if run.exc ~= '' then
    redis.call('HSET', key, 'exc_info', run.exc)
  end
  keep(run, key)
  if run.kind == 'failed' and run.letter then
    become_letter(run)
  end
end

local function retry(run, key)
  record_result(run)
  redis.call('HSET', key, 'settled', run.execution, 'started_at', '', 'worker_name', '', 'error', run.reason)
  redis.call('HDEL', key, 'progress')
  if not run.flags:find('n', 1, true) then
    add(key, 'retries_left', -1)
  end
  if run.type == '' then
    prepare_foreign_retry(key, run.flags:find('n', 1, true), run.flags:find('a', 1, true), now)
  end
  if run.wait > 0 then
    redis.call('HSET', key, 'status', 'scheduled')
    redis.call('ZADD', P .. ':scheduled:' .. run.queue, string.format('%.6f', seconds + fraction + run.wait), run.id)
    if run.type == '' and has_foreign_follow_ups(key) then
      follow(run)
    end
  else
    redis.call('HSET', key, 'status', 'queued', 'enqueued_at', now)
    redis.call(run.flags:find('a', 1, true) and 'LPUSH' or 'RPUSH', P .. ':queue:' .. run.queue, run.id)
  end
end

-- The child died under the job: no charge, but the third such death quarantines it. As where its worker
-- died, results that nobody can write to keep no job from being given back.
local function lost(run, key)
  pcall(record_result, run)
  redis.call('HSET', key, 'settled', run.execution)
  if add(key, 'deaths', 1) >= POISON_DEATHS then
    quarantine(P, run.id, run.queue, run.reason, seconds)
    run.is_told, run.event, run.data = true, 'job:failed', run.data:sub(1, -2) .. ',"final":true}'
  else
    give_back(P, run.id, run.queue, now)
    run.event = 'job:queued'
  end
end

--include lib_fence

local function end_run(run, member)
  later('ZREM', leases, member)
  later('ZREM', P .. ':wip:' .. run.queue, member)
  if run.flags:find('r', 1, true) then
    redis.call('DEL', P .. ':execution:' .. member)
    redis.call('ZREM', P .. ':executions:' .. run.id, run.execution)
    later('SREM', P .. ':worker:' .. worker .. ':executions', member)
  end
end

--include lib_counts

local function apply(run, key, had_error)
  if STATUS[run.kind] then
    finish(run, key, had_error)
    release_unique(run.id, run.unique)
  elseif run.kind == 'retry' then
    retry(run, key)
  elseif run.kind == 'released' then
    redis.call('HSET', key, 'settled', run.execution)
    give_back(P, run.id, run.queue, now)
  elseif run.kind == 'lost' then
    lost(run, key)
  else
    redis.call('HSET', key, 'settled', run.execution)
    followed = followed + (quarantine(P, run.id, run.queue, run.reason, seconds) and 1 or 0)
  end
end

--include lib_told

local function leave_to_others(run, status)
  if not LIVE[status or ''] then
    release_unique(run.id, run.unique)
  end
  leave_gates(run.id, run.member)
  return 'stale'
end

local function drop_checkpoint(run, key)
  run.steps = P .. ':fleet:steps:' .. run.id
  redis.call('HDEL', key, 'checkpoint')
  redis.call('UNLINK', unpack({P .. ':fleet:checkpoint:' .. run.id, run.kind == 'finished' and run.steps or nil}))
end

local function write(run)
  local key, member = P .. ':job:' .. run.id, run.member
  if member then
    end_run(run, member)
  end
  local head = redis.call('HMGET', key, 'status', 'execution', 'topics', 'cancel_requested', 'error', 'gates', 'checkpoint',
    'attempts', 'ledger', 'workflow', 'enqueued_at', 'dependency_ids')
  run.workflow, run.depends = head[10], head[12]
  if not head[1] and head[2] == run.execution then
    error('somebody removed its status', 0)
  end
  -- RQ may have cancelled or deleted the job meanwhile, and even put another of the same id in its place.
  if head[1] ~= 'started' or head[2] ~= run.execution then
    return leave_to_others(run, head[1])
  end
  if head[4] then
    redis.call('HDEL', key, 'cancel_requested')
    if run.kind == 'retry' or run.kind == 'released' or run.kind == 'lost' then
      run.kind, run.event = 'cancelled', 'job:cancelled'
    end
  end
  if head[7] and STATUS[run.kind] then
    drop_checkpoint(run, key)
  end
  run.durable = head[9]
  apply(run, key, head[5] and head[5] ~= '')
  if run.durable and run.kind ~= 'quarantined' and not run.is_told then
    tell_outcome(run, head[8])
  end
  if head[6] then
    leave_gates(run.id, member)
  end
  if head[3] and head[3] ~= '' and run.event ~= '' then
    announce(run, head)
  end
  count(run)
  return 'ok'
end

-- One outcome that can't be written must not keep the others from being written: its job is set aside.
local function refuse(id, queue, why)
  pcall(quarantine, P, id, queue, 'its outcome could not be written: ' .. tostring(why), seconds)
  return 'refused'
end

local function settle(run)
  if not takes_leave(run) then
    leave_gates(run.id, run.member)
    return redis.pcall('HGET', P .. ':job:' .. run.id, 'settled') == run.execution and 'again' or 'stale'
  end
  local ok, answer = pcall(write, run)
  if not ok then
    refuse(run.id, run.queue, answer)
    leave_gates(run.id, run.member)
    return 'refused'
  end
  return answer
end

--include lib_run
--include lib_plain_end

return tell_together(function()
  local out, all_ok, runs, plain, places = {}, true, read_all()
  look_up_leases(runs)
  for n, run in ipairs(runs) do
    local word = plain[n] and settle_plainly(places[n], plain[n]) or settle(run or read(places[n]))
    out[n], all_ok = word, all_ok and word == 'ok'
  end
  count_plain_ends()
  write_batches()
  open_gates()
  flush()
  for set, kept in pairs(kept_counts) do
    trim(set, kept[1], kept[2])
  end
  flush()
  write_counts()
  send_to_ledger(P)
  out = all_ok and {} or out
  out[#out + 1] = followed
  return out
end)

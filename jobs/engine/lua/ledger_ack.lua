#!lua flags=allow-oom
-- The ledger's rows know of these ends: forget what was read of its stream, and keep the jobs as long as their types say.
-- ARGV: prefix, the first id of the stream that was not read; then 5 a job: id, type, state, seconds to keep, how many of
--       the type to keep.
--include lib_batch
local P, TRIM_AT_ONCE, TOLD_KEPT, FOLLOWED_KEPT, WORKFLOW_KEPT = ARGV[1], 200, 60, 60, 86400
local STATUS = {finished = 'finished', failed = 'failed', cancelled = 'canceled'}
local REGISTRY = {finished = 'finished', failed = 'failed', cancelled = 'canceled'}
local ENDED = {finished = true, failed = true, canceled = true, stopped = true}
local time, kept_counts, ids = redis.call('TIME'), {}, {}
local ended_at = string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1000000)
--include lib_retention
redis.call('XTRIM', P .. ':fleet:ledger', 'MINID', ARGV[2])
for at = 3, #ARGV, 5 do
  ids[#ids + 1] = ARGV[at]
end
local any_dependent = has_any_dependent(ids)

local function keep(run, key, in_workflow)
  local followed = in_workflow or (any_dependent and redis.call('EXISTS', dependents_of(run.id)) == 1)
  local seconds = followed and math.max(run.keep, in_workflow and WORKFLOW_KEPT or FOLLOWED_KEPT) or run.keep
  if seconds == 0 then
    redis.call('EXPIRE', key, LATE_PUSHES)
    return redis.call('UNLINK', P .. ':results:' .. run.id, P .. ':fleet:log:' .. run.id)
  end
  redis.call('EXPIRE', key, math.max(seconds, LATE_PUSHES))
  redis.call('EXPIRE', P .. ':results:' .. run.id, seconds)
  redis.call('EXPIRE', P .. ':fleet:log:' .. run.id, seconds)
  if not in_workflow then
    count_towards(run)
  end
end

for at = 3, #ARGV, 5 do
  local key = P .. ':job:' .. ARGV[at]
  local status, execution, workflow = unpack(redis.call('HMGET', key, 'status', 'settled', 'workflow'))
  -- It may have been run again since.
  if STATUS[ARGV[at + 2]] and ENDED[status or ''] then
    keep({id = ARGV[at], type = ARGV[at + 1], kind = ARGV[at + 2], execution = execution or '',
      keep = tonumber(ARGV[at + 3]), count = tonumber(ARGV[at + 4])}, key, workflow)
  end
end
flush()
for list, kept in pairs(kept_counts) do
  trim(list, kept[1], kept[2])
end
flush()

#!lua flags=allow-oom
-- The ledger's rows know of these ends: forget what was read of its stream, and keep the jobs as long as their types say.
-- ARGV: prefix, the first id of the stream that was not read; then 5 a job: id, type, state, seconds to keep, how many of
--       the type to keep.
--include lib_batch
local P, TRIM_AT_ONCE, TOLD_KEPT, FOLLOWED_KEPT = ARGV[1], 200, 60, 60
local STATUS = {finished = 'finished', failed = 'failed', cancelled = 'canceled'}
local REGISTRY = {finished = 'finished', failed = 'failed', cancelled = 'canceled'}
local ENDED = {finished = true, failed = true, canceled = true, stopped = true}
--include lib_retention
redis.call('XTRIM', P .. ':fleet:ledger', 'MINID', ARGV[2])
local time, counts, ids = redis.call('TIME'), {}, {}
for at = 3, #ARGV, 5 do
  ids[#ids + 1] = ARGV[at]
end
local any_dependent = has_any_dependent(ids)
local now = string.format('%.6f', tonumber(time[1]) + tonumber(time[2]) / 1000000)
for at = 3, #ARGV, 5 do
  local id, job_type, state, keep = ARGV[at], ARGV[at + 1], ARGV[at + 2], tonumber(ARGV[at + 3])
  local key = P .. ':job:' .. id
  -- It may have been run again since.
  if STATUS[state] and ENDED[redis.call('HGET', key, 'status') or ''] then
    if any_dependent and redis.call('EXISTS', dependents_of(id)) == 1 then
      keep = math.max(keep, FOLLOWED_KEPT)
    end
    if keep == 0 then
      redis.call('UNLINK', key, P .. ':results:' .. id, P .. ':fleet:log:' .. id)
    else
      redis.call('EXPIRE', key, keep)
      redis.call('EXPIRE', P .. ':results:' .. id, keep)
      redis.call('EXPIRE', P .. ':fleet:log:' .. id, keep)
      local set = P .. ':fleet:ended:' .. state .. ':' .. job_type
      later('ZADD', set, now, id)
      counts[set] = {state, tonumber(ARGV[at + 4])}
    end
  end
end
flush()
for set, kept in pairs(counts) do
  trim(set, kept[1], kept[2])
end
flush()

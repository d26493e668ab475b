-- Part of settle.lua: how many runs ended how, for the fleet and for RQ's record of the worker.
local succeeded, failed, worked, counts = 0, 0, 0, {}
local function count(run)
  local name = run.kind .. ':' .. run.type
  counts[name] = (counts[name] or 0) + 1
  succeeded = succeeded + (run.kind == 'finished' and 1 or 0)
  failed = failed + ((run.kind == 'failed' or run.kind == 'retry' or run.kind == 'stopped') and 1 or 0)
  worked = worked + tonumber(run.ended) - tonumber(run.begun)
end

local function write_counts()
  for name, by in pairs(counts) do
    redis.call('HINCRBY', P .. ':fleet:counters', name, by)
  end
  local me = P .. ':worker:' .. worker
  if redis.call('EXISTS', me) == 1 then
    redis.pcall('HINCRBY', me, 'successful_job_count', succeeded)
    redis.pcall('HINCRBY', me, 'failed_job_count', failed)
    redis.pcall('HINCRBYFLOAT', me, 'total_working_time', string.format('%.6f', worked))
  end
end

-- Part of settle.lua: how many runs ended how, for the fleet and for RQ's record of the worker.
-- Times are epoch seconds with six decimals. Reading such a number takes long: of two times of one run the last four digits
-- of the seconds and the decimals say how far they are apart.
local LENGTH, LAST, AROUND = #'1700000000.000000', -#'0000.000000', 10000
local function seconds_between(begun, ended)
  if #begun ~= LENGTH or #ended ~= LENGTH then
    return tonumber(ended) - tonumber(begun)
  end
  return (tonumber(ended:sub(LAST)) - tonumber(begun:sub(LAST))) % AROUND
end

local succeeded, failed, worked, counts = 0, 0, 0, {}
local function count_many(kind, job_type, number, time)
  local name = kind .. ':' .. job_type
  counts[name] = (counts[name] or 0) + number
  succeeded = succeeded + (kind == 'finished' and number or 0)
  failed = failed + ((kind == 'failed' or kind == 'retry' or kind == 'stopped') and number or 0)
  worked = worked + time
end

local function count(run)
  count_many(run.kind, run.type, 1, seconds_between(run.begun, run.ended))
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
